"""Model vendors: what each takes as options, and whether the installation holds its key."""
