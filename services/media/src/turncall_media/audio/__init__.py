"""Sound: rates, codecs, tones, and the room behind an agent."""
