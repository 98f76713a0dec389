"""Credentials of a project: its keys at model vendors, its account at Twilio, its bucket, what its own servers want."""
