"""What passes between a call and a model that hears and speaks by itself, beyond Pipecat's own frames.

A service of the kind ``speech`` gets the caller's audio, mono s16le at 8 kHz, the changes of the caller's voice, and
three requests: `AnswerFrame`, `SayFrame`, and Pipecat's ``LLMContextFrame`` ("go on: there is news in the context").
To each of them it owes one reply: ``LLMFullResponseStartFrame``; if it speaks, ``TTSStartedFrame`` with the reply's id,
audio at 8 kHz and `SaidFrame` for each sentence, ``TTSStoppedFrame``; functions that it calls; and
``LLMFullResponseEndFrame``, also when there was nothing to say. After an interruption nothing of an older reply comes
out. Replies do not overlap: what is asked for during one comes behind it.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from pipecat.frames.frames import ControlFrame, DataFrame, SystemFrame

from turncall_media.audio.sound import TELEPHONE, Sound

BEFORE_SPEECH_MS: Final = 600
"""Of audio before the voice was noticed; its beginning lies in it."""
LONGEST_UTTERANCE_MS: Final = 60_000
"""Of one turn's audio that is kept; what lies further back is forgotten."""


@dataclass
class AnswerFrame(ControlFrame):
    """Down: the caller is done with ``turn``. What was heard since the last one is to be answered; or,
    where ``is_answered`` is False, only to be heard."""

    turn: int = 0
    is_answered: bool = True


@dataclass
class SayFrame(DataFrame):
    """Down: ``text`` is to be said word for word. ``is_kept``: it belongs to the conversation."""

    text: str = ""
    is_kept: bool = True


@dataclass
class CallerWordsFrame(DataFrame):
    """Down: what the caller said in ``turn``, as the model's own transcription has it; empty when it has no words."""

    turn: int = 0
    text: str = ""
    is_final: bool = True


@dataclass
class SaidFrame(DataFrame):
    """Down: the next sentence of the reply under way. Its sound comes before, with or after it."""

    text: str = ""


@dataclass
class HeardUntilFrame(SystemFrame):
    """Up: the reply ``reply_id`` was cut off when the caller had heard ``heard_ms`` of it."""

    reply_id: str = ""
    heard_ms: int = 0


class CallerTurn:
    """The caller's audio of one turn, from a little before the voice was noticed until the turn is answered."""

    def __init__(self, sound: Sound = TELEPHONE) -> None:
        self._bytes_per_ms = sound.bytes_per_ms
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self.is_open = False

    @property
    def sound(self) -> bytes:
        """All of it so far."""
        return b"".join(self._pieces)

    def hear(self, pcm: bytes) -> None:
        """The next piece of the line."""
        self._pieces.append(pcm)
        self._size += len(pcm)
        longest = LONGEST_UTTERANCE_MS if self.is_open else BEFORE_SPEECH_MS
        while self._size - len(self._pieces[0]) >= longest * self._bytes_per_ms:
            self._size -= len(self._pieces.popleft())

    def begin(self) -> bytes:
        """A voice was noticed. What to hear of it so far; nothing when the turn has begun already."""
        if self.is_open:
            return b""
        self.is_open = True
        return self.sound

    def end(self) -> bytes:
        """The turn is over: all of it."""
        pcm = self.sound
        self._pieces.clear()
        self._size, self.is_open = 0, False
        return pcm
