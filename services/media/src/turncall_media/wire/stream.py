"""What a wire is: one carrier's stream of one call; its dialect on one side, samples on the other."""

from typing import Protocol

from msgspec import Struct


class StreamStart(Struct, frozen=True, kw_only=True):
    """The carrier's first word on a media socket: its own ids, and the parameters that our answer gave it."""

    provider_call_id: str
    stream_id: str
    account: str
    parameters: dict[str, str]


class CallerAudio(Struct, frozen=True):
    """What the caller said: mono s16le at 8 kHz that began ``timestamp_ms`` after the stream did."""

    timestamp_ms: int
    pcm: bytes


class KeyPressed(Struct, frozen=True):
    """The caller pressed a key: 0 to 9, A to D, star or hash."""

    digit: str


class MarkReturned(Struct, frozen=True):
    """The carrier has played, or was told to forget, everything that was sent before this mark."""

    name: str


class StreamStopped(Struct, frozen=True):
    """The carrier ended the stream in good order: the caller hung up, or control told the carrier to."""


WireEvent = CallerAudio | KeyPressed | MarkReturned | StreamStopped


class Wire(Protocol):
    """An opened stream. Reading and writing may go on at the same time, each by one task."""

    @property
    def opened_at_s(self) -> float:
        """When the carrier's start message was read, on the event loop's clock."""
        ...

    @property
    def garbage_frames(self) -> int:
        """How many frames made no sense and were passed over."""
        ...

    async def receive(self) -> WireEvent:
        """The next event, in the order sent. Raises `SocketClosed`, and `WireError` when the peer only babbles."""
        ...

    async def play(self, pcm: bytes) -> None:
        """Hands mono s16le at 8 kHz, of any length, to the carrier, who plays it after what it has."""
        ...

    async def mark(self, name: str) -> None:
        """Asks to be told, by `MarkReturned`, when everything before was played or forgotten."""
        ...

    async def clear(self) -> None:
        """Makes the carrier forget what it has not played; every outstanding mark comes back."""
        ...
