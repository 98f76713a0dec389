"""The operator's view of the media workers."""
