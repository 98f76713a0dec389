"""Whether this process lives, whether it can serve, and what it counts."""
