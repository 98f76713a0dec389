"""What a wire is: one carrier's stream of one call; its dialect on one side, samples on the other."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from turncall_media.audio.sound import Sound
from turncall_media.stages.avatars import Picture


class StreamStart(Struct, frozen=True, kw_only=True):
    """The first word on a stream: the call that it is of, as its carrier calls it."""

    provider_call_id: str


class CallerAudio(Struct, frozen=True):
    """What the caller said: mono s16le at the wire's rate that began ``timestamp_ms`` after the stream did."""

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


class Page(Protocol):
    """The page at the other end of a browser's wire, beside the sound."""

    def listen(self, listener: Callable[[str], None]) -> None:
        """Has its messages told, from the first one on."""
        ...

    def tell(self, message: str) -> None:
        """Sends it a text; lost while it cannot be reached."""
        ...

    def press(self, digit: str) -> None:
        """Has it that the caller pressed a key on it."""
        ...

    @property
    def is_watching(self) -> bool:
        """Whether it has room for a picture."""
        ...

    def show(self, picture: Picture) -> None:
        """Shows it the next frame of a picture that moves."""
        ...


class Wire(Protocol):
    """One stream of one call. `open` comes first; then one task may read and one may write."""

    @property
    def sound(self) -> Sound:
        """What it carries, both ways."""
        ...

    @property
    def page(self) -> Page | None:
        """Whom a browser's call may be told about; None at a carrier, who ends calls by itself."""
        ...

    @property
    def is_fixed(self) -> bool:
        """Whether the stream ends with this worker: its carrier has no way to bring the call to another one."""
        ...

    @property
    def opened_at_s(self) -> float:
        """When the stream began, on the event loop's clock."""
        ...

    @property
    def garbage_frames(self) -> int:
        """How many frames made no sense and were passed over."""
        ...

    async def open(self) -> StreamStart:
        """Waits until sound can flow. Raises `WireError` when that is not so in time, or the peer makes no sense,
        and `NeverConnected` when the call is over with that."""
        ...

    def begin_again(self) -> None:
        """Another conversation takes the stream from here on: times count from here."""
        ...

    async def see_off(self, timeout_s: float) -> None:
        """The carrier was asked to end the call: waits until it has closed the stream, and no longer."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Closes once, with a WebSocket's code (RFC 6455, section 7.4); later calls do nothing."""
        ...

    async def receive(self) -> WireEvent:
        """The next event, in the order sent. Raises `SocketClosed`, and `WireError` when the peer only babbles."""
        ...

    async def play(self, pcm: bytes) -> None:
        """Hands mono s16le at the wire's rate, of any length, to the carrier, who plays it after what it has."""
        ...

    async def mark(self, name: str) -> None:
        """Asks to be told, by `MarkReturned`, when everything before was played or forgotten."""
        ...

    async def clear(self) -> None:
        """Makes the carrier forget what it has not played; every outstanding mark comes back."""
        ...
