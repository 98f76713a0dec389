"""The worker's edge: who gets in, how many, and with which plan."""
