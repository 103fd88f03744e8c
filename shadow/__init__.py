"""Lower floor: images in, shadow models and piles of generated images out. Never imports `attack`."""
