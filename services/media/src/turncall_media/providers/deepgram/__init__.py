"""Deepgram, hosted or on premises."""
