"""Ultravox: models that hear for themselves."""
