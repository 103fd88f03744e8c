"""Checkpoints side by side: what differs between them, and which leaks more."""
