"""Vendors of models: a folder for each vendor, a file for each of its capabilities."""
