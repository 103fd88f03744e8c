"""Stage 1, evidence: images and piles become numbers. No label of a dev slice is used."""
