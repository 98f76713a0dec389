"""Calls: where each one stands, who serves it, what was said, how it ends."""
