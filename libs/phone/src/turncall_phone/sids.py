"""Twilio's identifiers: two letters and 32 hex digits."""

import secrets
from hashlib import sha256


def new_sid(prefix: str) -> str:
    """A fresh SID, for example `CA` for a call or `MZ` for a stream."""
    return prefix + secrets.token_hex(16)


def lasting_sid(prefix: str, *names: str) -> str:
    """The SID of something that outlives this process, such as `PN` for a number of an account: always the same."""
    return prefix + sha256("/".join(names).encode()).hexdigest()[:32]
