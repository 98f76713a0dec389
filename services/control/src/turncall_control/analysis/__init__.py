"""What a model makes of a call once it is over."""
