"""Images as vectors, and how far two of them are apart."""
