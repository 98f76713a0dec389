"""A typed client of the REST API, on httpx and msgspec."""

from turncall.client.api import TurnCall
from turncall.client.transport import ApiError, Unreachable

__all__ = ["ApiError", "TurnCall", "Unreachable"]
