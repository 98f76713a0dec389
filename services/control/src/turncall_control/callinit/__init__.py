"""Asking the user's own server who answers a call, before it is answered."""
