"""How a fake vendor behaves: when it answers, how fast, and what goes wrong."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from msgspec import Struct, field

Kind = Literal["stt", "llm", "tts", "speech", "embed", "avatar"]
Fault = Literal["refuse_key", "fail", "stall", "break", "cut"]
"""``refuse_key``: 401. ``fail``: 500. ``stall``: silence instead of the first byte. ``break``: a part of the answer,
then an error in the protocol's own words. ``cut``: a part of the answer, then the connection is gone."""


class Manners(Struct, frozen=True, kw_only=True):
    """Waits ``first_byte_after_s``, then ``pace_s`` before every further piece; does ``fault`` for as long as it is
    set."""

    first_byte_after_s: float = 0.0
    pace_s: float = 0.0
    fault: Fault | None = None


class Asked(Struct, frozen=True, kw_only=True):
    """One request, or one message on a socket. ``name`` is the path of a request, the type of a message.

    ``key`` is what came as the credential, without its scheme. ``audio`` is the sound that was sent, as bare samples.
    """

    name: str
    key: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    audio: bytes = b""


class Fake(Protocol):
    """What every fake can be asked for, whatever it speaks."""

    manners: Manners
    journal: list[Asked]

    def options(self, kind: Kind) -> dict[str, Any]:
        """The least options that lead this vendor's ``kind`` here, with a short timeout."""
        ...


StartFake = Callable[[], AbstractAsyncContextManager[Fake]]
"""``async with start() as fake``: it listens on loopback meanwhile."""
