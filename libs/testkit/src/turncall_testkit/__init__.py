"""Fakes of vendors, the stack fixture, audio measures and builders. Tests only."""
