"""Google: Gemini, and the speech services of its cloud."""
