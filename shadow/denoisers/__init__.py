"""Denoising networks: (x [batch, height, width, 1], t [batch]) -> [batch, height, width, 1]."""
