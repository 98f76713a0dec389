"""Whisper on the worker's own processor, by faster-whisper."""
