"""Whose data: from the fitted model to answers about images and piles, and to what they are worth."""
