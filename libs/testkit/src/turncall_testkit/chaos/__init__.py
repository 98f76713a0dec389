"""Chaos: calls over real processes while something is killed, frozen or away, and a checker that decides what held."""
