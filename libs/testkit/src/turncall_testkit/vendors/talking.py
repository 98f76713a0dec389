"""What the fakes of models that hear and speak have in common, whatever protocol they speak."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Final

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.replies import words
from turncall_testkit.vendors.serving import Desk
from turncall_testkit.vendors.tones import tone

PIECE_S: Final = 0.1
"""Of speech that is sent at once."""
SILENCE_MS: Final = 2000
"""That is a failure; a machine with other work may be silent for a while."""


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
