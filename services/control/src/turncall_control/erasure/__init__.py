"""Erasure: calls, everything about a person's number, whole projects, and what has been kept for its time."""
