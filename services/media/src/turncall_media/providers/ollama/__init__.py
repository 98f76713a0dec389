"""Ollama: open models on a machine of one's own."""
