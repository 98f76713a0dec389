"""What the fakes of models that hear and speak have in common, whatever protocol they speak."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.replies import words
from turncall_testkit.vendors.serving import Desk
from turncall_testkit.vendors.tones import tone

PIECE_S: Final = 0.1
"""Of speech that is sent at once."""
LEAST_SPEECH_S: Final = 0.1
LOUD: Final = 1000
"""Of 32767: what counts as a voice."""
SILENCE_MS: Final = 2000
"""That is a failure; a machine with other work may be silent for a while."""


class Ear:
    """Finds the ends of turns in sound: a pause of ``endpoint_s`` behind a voice is one."""

    def __init__(self, rate_hz: int, endpoint_s: float) -> None:
        self._bytes_per_s = 2 * rate_hz
        self._endpoint_s = endpoint_s
        self._speech_s = 0.0
        self._silence_s = 0.0

    def hear(self, pcm: bytes) -> Literal["voice", "end", ""]:
        """What the next sound, mono s16le, comes to: somebody is speaking, or has spoken."""
        seconds = len(pcm) / self._bytes_per_s
        if len(pcm) and np.abs(np.frombuffer(pcm, "<i2")).max() > LOUD:
            self._speech_s += seconds
            self._silence_s = 0.0
            return "voice" if self._speech_s >= LEAST_SPEECH_S else ""
        self._silence_s += seconds
        if self._silence_s < self._endpoint_s:
            return ""
        has_spoken, self._speech_s = self._speech_s >= LEAST_SPEECH_S, 0.0
        return "end" if has_spoken else ""


class TalkingDesk(Desk):
    """Replies to spoken turns; what it is told to say exactly, it says. A transcript comes ``words_after_s`` behind its
    turn.

    ``sessions`` are the configurations that were asked for, ``conversation`` is what the newest session knows.
    """

    def __init__(self, *, words_after_s: float = 0.0, **answers: Any) -> None:
        super().__init__(**answers)
        self.words_after_s = words_after_s
        self.conversation: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []

    def options(self, kind: Kind) -> dict[str, Any]:
        """With more patience."""
        return super().options(kind) | {"timeout_ms": SILENCE_MS}

    @abstractmethod
    async def expire(self) -> None:
        """What happens to each session when it has lasted too long."""

    def spoken(self, text: str, rate_hz: int) -> Iterator[tuple[bytes, list[str]]]:
        """A reply in pieces of `PIECE_S`, mono s16le, with the words that come along. Of one that breaks, the half."""
        speech, said = tone(self.tone_hz, rate_hz, self.speech_s), words(text)
        step = int(2 * PIECE_S * rate_hz)
        pieces = [speech[start : start + step] for start in range(0, len(speech), step)]
        share = -(-len(said) // len(pieces))
        is_whole = self.manners.fault not in ("break", "cut")
        for index, piece in enumerate(pieces if is_whole else pieces[: len(pieces) // 2]):
            yield piece, said[index * share : (index + 1) * share]
