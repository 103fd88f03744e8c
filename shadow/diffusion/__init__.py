"""The forward process, its loss, and the samplers."""
