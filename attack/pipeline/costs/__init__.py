"""What a run will cost: time, memory, disk and files by stage, from steps that are timed on this machine."""
