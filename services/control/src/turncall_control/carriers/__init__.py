"""Carriers: one file each, all behind the protocol in `base`."""
