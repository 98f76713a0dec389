"""Agents: their drafts, their published versions, and the check of what they are made of."""
