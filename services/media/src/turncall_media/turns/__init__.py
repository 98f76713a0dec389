"""When the caller has begun to speak, has finished, and may interrupt."""
