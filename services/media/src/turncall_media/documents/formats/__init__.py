"""A file for each format, named like it."""
