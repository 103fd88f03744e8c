"""Upper floor: piles and candidates in, probabilities of membership out. Imports `shadow`, never `launch`."""
