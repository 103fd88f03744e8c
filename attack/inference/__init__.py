"""Stage 2, inference: the numbers of shadows become a fitted attack, its held-out figures and its controls."""
