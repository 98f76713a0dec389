"""Tavus: avatars, by its conversations."""
