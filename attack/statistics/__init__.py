"""Figures of scores and probabilities against labels, each with its interval."""
