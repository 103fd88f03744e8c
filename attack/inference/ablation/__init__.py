"""What each part of the attack is worth: signals, embeddings, families and the number of shadows."""
