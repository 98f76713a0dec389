"""What a vendor's ``avatar.py`` builds: a face that speaks what the agent says. It makes pictures, and no sound.

The agent's own voice is what the caller hears and what is recorded. The avatar gets a copy of it, and says when its
lips begin to move: then the voice begins too.
"""

import asyncio
from typing import Final, Protocol

import numpy as np
from msgspec import Struct

VOICED: Final = 300
"""Root mean square of samples that are speech, in the sound that an avatar's room sends back with the pictures."""
SILENT_MS: Final = 100
"""So much silence before speech makes it the beginning of an utterance."""


class Picture(Struct, frozen=True, kw_only=True):
    """One frame: 3 bytes a pixel, red, green, blue, row by row. Both sides are even, as a video's must be."""

    rgb: bytes
    width: int
    height: int


class AvatarFailed(Exception):
    """The avatar cannot be had, or is lost; the call goes on without it."""


class Audience(Protocol):
    """Who is told what an avatar does."""

    def show(self, picture: Picture) -> None:
        """The next frame."""
        ...

    def voiced(self) -> None:
        """Its lips have begun to move to an utterance."""
        ...

    def failed(self, why: str) -> None:
        """It is lost, without having been asked for anything."""
        ...


class Avatar(Protocol):
    """One avatar of one call. `begin` comes first; any of them may raise `AvatarFailed`."""

    rate_hz: int
    """Of the sound that it takes: mono s16le."""

    async def begin(self, audience: Audience) -> None:
        """Returns when it can speak; whoever waits for it sets a deadline."""
        ...

    async def speak(self, pcm: bytes) -> None:
        """Appends to what it is to say."""
        ...

    async def pause(self) -> None:
        """What was given so far is a whole utterance."""
        ...

    async def interrupt(self) -> None:
        """Falls silent at once and forgets what it was given."""
        ...

    async def close(self) -> None:
        """Ends its session at the vendor, which bills by the minute. Also when it never began; raises nothing."""
        ...


class Onset:
    """Finds where utterances begin in the sound that comes back from a room."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._silent_ms = float(SILENT_MS)

    def heard(self, pcm: bytes, rate_hz: int) -> None:
        """Takes the next mono s16le."""
        samples = np.frombuffer(pcm[: len(pcm) & ~1], dtype="<i2").astype(np.float32)
        if not samples.size:
            return
        if float(np.sqrt(np.mean(samples**2))) < VOICED:
            self._silent_ms += len(samples) * 1000 / rate_hz
            return
        if self._silent_ms >= SILENT_MS:
            self._audience.voiced()
        self._silent_ms = 0.0


class Seen:
    """Passes everything on to another audience, and knows when the first picture came."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self.picture = asyncio.Event()
        self.voiced = audience.voiced
        self.failed = audience.failed

    def show(self, picture: Picture) -> None:
        """One more."""
        self.picture.set()
        self._audience.show(picture)
