"""OpenRouter: many vendors' models behind one key."""
