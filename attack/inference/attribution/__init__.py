"""Whose data: a model of which subset of real slices a generated image was made from, fitted on shadows."""
