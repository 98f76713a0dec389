"""How a request to a user's URL fails. Messages name the host at most: no address, no query, no answer's body."""

from typing import Literal

Reason = Literal["url", "scheme", "credentials", "host", "port", "address", "header"]
"""What a refusal was about; few enough to be a metric's label."""


class EgressError(Exception):
    """The request got no usable answer."""


class Refused(EgressError):
    """The wall stands in the way: nothing was sent, and the same request is refused again."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason: Reason = reason
        super().__init__(f"refused for its {reason}: {detail}")


class TimedOut(EgressError):
    """There was no whole answer before the deadline. The other side may have acted on the request."""


class TooLarge(EgressError):
    """The answer is longer than the caller takes. The other side has acted on the request."""


class Failed(EgressError):
    """The name has no address, the connection broke, or what came back is no HTTP."""
