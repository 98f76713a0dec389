"""Twilio's identifiers: two letters and 32 hex digits."""

import secrets


def new_sid(prefix: str) -> str:
    """A fresh SID, for example `CA` for a call, `MZ` for a stream, `PN` for a number."""
    return prefix + secrets.token_hex(16)
