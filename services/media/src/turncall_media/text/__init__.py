"""Conversations without a voice: a model asked, in writing."""
