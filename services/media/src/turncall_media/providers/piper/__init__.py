"""Piper on the worker's own processor."""
