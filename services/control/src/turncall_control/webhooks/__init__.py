"""Webhooks: who is told of what, written with the fact, sent in order, again and again until it arrives."""
