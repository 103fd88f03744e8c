"""From images to a trained shadow: who is in which, the training loop, checkpoints."""
