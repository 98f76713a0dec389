"""What can go wrong in a request: one tree, whose classes fix the status and the stable name of the problem."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request. ``field`` is its path: ``config.pipeline.stt.options.model``."""

    field: str
    message: str


class ControlError(Exception):
    """A request that cannot be served. ``detail`` is read by the caller: it holds no secret and no internals.

    ``status`` and ``name`` belong to the class; ``name`` ends the problem's type and never changes.
    """

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", *, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None):
        super().__init__(detail or self.title)
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


class Malformed(ControlError):
    """The request cannot be read at all: broken JSON, a bad encoding."""

    status, name, title = 400, "malformed", "The request cannot be read"


class Unauthorised(ControlError):
    """No key, or one that is unknown, expired or revoked; which of these is not said."""

    status, name, title = 401, "unauthorised", "A valid key is needed"


class Forbidden(ControlError):
    """The key is good, its role is not enough."""

    status, name, title = 403, "forbidden", "The key's role does not allow this"


class NotFound(ControlError):
    """No such thing in the caller's project; what belongs to another project looks exactly the same."""

    status, name, title = 404, "not-found", "Not found"


class MethodNotAllowed(ControlError):
    """The path exists; this method on it does not."""

    status, name, title = 405, "method-not-allowed", "Method not allowed"


class Conflict(ControlError):
    """The request is sound and clashes with what is stored, or lost a race against another one."""

    status, name, title = 409, "conflict", "Conflict"


class TooLarge(ControlError):
    """The body is over the limit."""

    status, name, title = 413, "too-large", "The body is too large"


class UnsupportedMedia(ControlError):
    """The body is not of the type that this route reads."""

    status, name, title = 415, "unsupported-media", "Unsupported media type"


class Invalid(ControlError):
    """The request can be read and breaks a rule; the faults name the fields."""

    status, name, title = 422, "invalid", "The request is not valid"

    @classmethod
    def at(cls, field: str, message: str) -> "Invalid":
        """One fault at one field."""
        return cls(faults=[Fault(field=field, message=message)])


class RateLimited(ControlError):
    """More requests than the key, its project or the address may make; the headers say when to come back."""

    status, name, title = 429, "rate-limited", "Too many requests"


class CarrierFailed(ControlError):
    """The carrier refused or could not be reached."""

    status, name, title = 502, "carrier-failed", "The carrier did not do what was asked"


class Unavailable(ControlError):
    """A part that this request needs is away; the same request may succeed later."""

    status, name, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, detail: str = "", *, retry_after_s: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})
