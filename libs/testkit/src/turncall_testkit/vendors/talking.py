"""What the fakes of models that hear and speak have in common, whatever protocol they speak."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

from turncall_testkit.vendors.replies import Replies, Reply, Transcripts, words
from turncall_testkit.vendors.serving import Desk
from turncall_testkit.vendors.tones import tone

PIECE_S: Final = 0.1
"""Of speech that is sent at once."""
SILENCE_MS: Final = 2000
"""That is a failure; a machine with other work may be silent for a while."""


class TalkingDesk(Desk):
    """Replies to spoken turns with ``replies`` and hears ``transcripts``, each in turn, the last one ever after; speaks
    a tone of ``tone_hz`` for ``speech_s``. What it is told to say exactly, it says. A transcript comes
    ``words_after_s`` behind its turn. Takes any key, or only ``key`` if given.

    ``sessions`` are the configurations that were asked for, ``conversation`` is what the newest session knows.
    """

    def __init__(
        self,
        *,
        replies: Sequence[Reply] = (Reply(text="Hello there. How can I help you?"),),
        transcripts: Sequence[str] = ("book a table for two",),
        words_after_s: float = 0.0,
        tone_hz: float = 440.0,
        speech_s: float = 1.0,
        key: str = "",
    ) -> None:
        super().__init__(key)
        self.replies = Replies(replies)
        self.transcripts = Transcripts(transcripts)
        self.words_after_s = words_after_s
        self.tone_hz = tone_hz
        self.speech_s = speech_s
        self.conversation: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []

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
