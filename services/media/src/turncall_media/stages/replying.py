"""One reply of a model that hears and speaks: from what the vendor sends, in pieces, to the frames of the pipeline."""

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct
from pipecat.frames.frames import (
    Frame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)

from turncall_media.audio.resampling import Resampler
from turncall_media.stages.exchange import SaidFrame

_SENTENCE: Final = re.compile(r"(.+?[.!?…。！？]+)\s+", re.DOTALL)


class Wish(Struct):
    """What is to be replied to. ``turn`` and ``pcm`` are the caller's, ``text`` is to be said as it stands."""

    turn: int | None = None
    pcm: bytes = b""
    text: str | None = None
    is_kept: bool = True
    is_answered: bool = True
    is_committed: bool = False  # the session has the turn's sound
    tries: int = 0


class Reply:
    """Told in frames as it comes: its start, its sound at the pipeline's rate, its words in sentences, its end.

    ``parts`` are what the vendor calls the pieces of its sound, and how many ms each has.
    """

    def __init__(self, wish: Wish, push: Callable[[Frame], Awaitable[None]], rate_hz: int) -> None:
        self.wish = wish
        self.id = uuid.uuid4().hex
        self.has_begun = False
        self.is_over = False
        self.parts: list[tuple[str, int]] = []
        self._push = push
        self._rate_hz = rate_hz
        self._words = ""  # behind the last whole sentence
        self._resampler: Resampler | None = None

    @property
    def has_spoken(self) -> bool:
        """Whether there was any sound."""
        return self._resampler is not None

    async def begin(self) -> None:
        """There is a sign of it."""
        if not self.has_begun:
            self.has_begun = True
            await self._push(LLMFullResponseStartFrame())

    async def sound(self, pcm: bytes, rate_hz: int) -> None:
        """Its next sound, at the vendor's rate."""
        await self.begin()
        if self._resampler is None:
            self._resampler = Resampler(rate_hz, self._rate_hz)
            await self._push(TTSStartedFrame(context_id=self.id, append_to_context=self.wish.is_kept))
        await self._play(self._resampler.take(pcm))

    async def words(self, delta: str) -> None:
        """Its next words; they are told in whole sentences."""
        await self.begin()
        self._words += delta
        while (whole := _SENTENCE.match(self._words)) is not None:
            self._words = self._words[whole.end() :]
            await self._push(SaidFrame(whole[1]))

    async def abandon(self) -> None:
        """Nobody waits for it any more; what it has said it has said."""
        self.is_over = True
        await self._flush()

    async def end(self) -> None:
        """It is whole."""
        self.is_over = True
        await self.begin()
        await self._flush()
        if self._resampler is not None:
            await self._play(self._resampler.end())
            await self._push(TTSStoppedFrame(context_id=self.id))
        await self._push(LLMFullResponseEndFrame())

    async def _flush(self) -> None:
        words, self._words = self._words, ""
        if words.strip():
            await self._push(SaidFrame(words))

    async def _play(self, pcm: bytes) -> None:
        if pcm:
            await self._push(TTSAudioRawFrame(pcm, self._rate_hz, 1, context_id=self.id))
