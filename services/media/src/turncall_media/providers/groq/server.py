"""Groq's server."""

from typing import Final

GROQ: Final = "https://api.groq.com/openai/v1"
