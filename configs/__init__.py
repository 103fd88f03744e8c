"""Recipes: one file each, whose `get_config()` returns a `shadow.config.Config`."""
