"""Headers that users add to requests of tools: none that is ours to set, and in an agent's definition no secret."""

import re
from collections.abc import Iterable
from typing import Annotated, Final

from msgspec import Meta

Headers = Annotated[
    dict[str, Annotated[str, Meta(max_length=1024, pattern=r"^[\t\x20-\x7e]*$(?!\n)")]],
    Meta(max_length=20, description="Sent as they stand, and shown to everybody who may read the agent: no secrets."),
]

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_RESERVED: Final = re.compile(
    r"host|content-.*|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|accept-encoding"
    r"|idempotency-key|webhook-.*|mcp-.*|last-event-id"
)
_SECRET: Final = re.compile(r"(proxy-)?authorization|cookie|.*(secret|token|password|api[-_]?key|signature).*")


def require_free(names: Iterable[str]) -> None:
    """Returns when all of them are a user's to set. Raises `ValueError` with the first that is not."""
    for name in names:
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name.lower()):
            raise ValueError(f"header {name!r} is no name that a tool may set")


def require_settable(headers: Headers) -> None:
    """Returns when a definition may set all of them. Raises `ValueError` with the first that it may not."""
    require_free(headers)
    for name in headers:
        if _SECRET.fullmatch(name.lower()):
            raise ValueError(f"header {name!r} would hold a secret, which an agent's definition is no place for")
