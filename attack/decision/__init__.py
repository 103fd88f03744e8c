"""Stage 3, decision: the attack and the target become predictions, a verdict and a submission."""
