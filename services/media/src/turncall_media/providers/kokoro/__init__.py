"""Kokoro: voices that run on this machine."""
