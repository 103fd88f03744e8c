"""`launch.py inspect`: a folder of images before anything is trained, as a table and as a page."""
