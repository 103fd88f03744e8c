"""A run without shadows, fleet.shadows = 0: published baselines alone, which rank slices and give no verdict."""
