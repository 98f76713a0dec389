"""Vendors that run in this process, without a key and without a download, for English."""
