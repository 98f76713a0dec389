"""Conversations in writing: sessions of a contact with an agent, and the messages in them."""
