"""The page about whose data generated images were made from."""
