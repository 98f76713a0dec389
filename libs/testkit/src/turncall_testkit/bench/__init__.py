"""Figures of speed on real servers and processes."""
