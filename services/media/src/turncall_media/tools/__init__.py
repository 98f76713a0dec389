"""What the model may do besides talk; one kind of tool, one file, found on disk."""
