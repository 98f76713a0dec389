"""The wall for URLs that users supply, and the signing of requests to them."""

from turncall_egress.client import EgressAnswer, EgressClient
from turncall_egress.connector import walled_connector
from turncall_egress.errors import EgressError, Failed, Refused, TimedOut, TooLarge
from turncall_egress.wall import Wall, authority, checked_url

__all__ = [
    "EgressAnswer",
    "EgressClient",
    "EgressError",
    "Failed",
    "Refused",
    "TimedOut",
    "TooLarge",
    "Wall",
    "authority",
    "checked_url",
    "walled_connector",
]
