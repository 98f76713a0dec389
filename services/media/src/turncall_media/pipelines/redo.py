"""What a vendor was given and has not done yet, so that another one can do it within the same turn.

One class for each stage. Frames come in as they are given to the vendor (`given`) and as they come out of it
(`passed`); `redo` is what the next vendor gets first.
"""

from collections import deque
from typing import Final, Protocol

from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    FunctionCallsStartedFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    SystemFrame,
    TextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection

from turncall_media.audio.sound import Sound, duration_ms
from turncall_media.pipelines.speaking import SpeechCutFrame
from turncall_media.stages.exchange import BEFORE_SPEECH_MS, AnswerFrame, CallerTurn, SaidFrame, SayFrame

LONGEST_UTTERANCE_MS: Final = 30_000
Given = tuple[Frame, FrameDirection]
DOWN: Final = FrameDirection.DOWNSTREAM


class Redo(Protocol):
    """What a stage keeps of its work."""

    @property
    def signs(self) -> tuple[type[Frame], ...]:
        """What comes out of a vendor that works."""
        ...

    @property
    def requests(self) -> tuple[type[Frame], ...]:
        """What a vendor that works gives a sign for, soon."""
        ...

    def given(self, frame: Frame, direction: FrameDirection) -> bool:
        """The vendor gets it. True: it is kept, so it can wait for the next vendor when there is none."""
        ...

    def passed(self, frame: Frame) -> list[Frame]:
        """What is to go on downstream when this came out of the vendor: usually the frame itself."""
        ...

    def lacks(self, frame: Frame) -> str:
        """Why this, which came out of the vendor, is a failure; usually it is none."""
        ...

    def cut(self) -> list[Frame]:
        """What goes downstream because the vendor broke off."""
        ...

    def redo(self) -> list[Given] | None:
        """What the next vendor gets first. None: half of a reply is away, so it is asked for anew."""
        ...


class Hearing:
    """Speech to text: the caller's utterance of which no final words came yet, with a little of what was before."""

    signs: tuple[type[Frame], ...] = (TranscriptionFrame, InterimTranscriptionFrame)
    requests: tuple[type[Frame], ...] = ()

    def __init__(self) -> None:
        self._kept: deque[Frame] = deque()
        self._audio_ms = 0
        self._is_open = False  # a voice was heard, and no final words of it
        self._retold: set[int] = set()

    def given(self, frame: Frame, _: FrameDirection) -> bool:
        """Keeps audio; the voice's beginning and end are for everybody, at once."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._is_open = True
        elif not isinstance(frame, InputAudioRawFrame | VADUserStoppedSpeakingFrame):
            return False
        self._keep(frame)
        return isinstance(frame, InputAudioRawFrame)

    def passed(self, frame: Frame) -> list[Frame]:
        """Everything but what it was told a second time."""
        if isinstance(frame, TranscriptionFrame):
            self._is_open = False
            self._trim(BEFORE_SPEECH_MS)
        return [] if frame.id in self._retold else [frame]

    def lacks(self, _: Frame) -> str:
        """Nothing."""
        return ""

    def cut(self) -> list[Frame]:
        """Nothing."""
        return []

    def redo(self) -> list[Given]:
        """The utterance from a little before its beginning."""
        marks = (VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame)
        self._retold = {frame.id for frame in self._kept if isinstance(frame, marks)}
        return [(frame, DOWN) for frame in self._kept]

    def _keep(self, frame: Frame) -> None:
        self._kept.append(frame)
        if isinstance(frame, InputAudioRawFrame):
            self._audio_ms += duration_ms(frame.audio, frame.sample_rate)
            self._trim(LONGEST_UTTERANCE_MS if self._is_open else BEFORE_SPEECH_MS)

    def _trim(self, longest_ms: int) -> None:
        while self._kept and self._audio_ms > longest_ms:
            frame = self._kept.popleft()
            if isinstance(frame, InputAudioRawFrame):
                self._audio_ms -= duration_ms(frame.audio, frame.sample_rate)


class Thinking:
    """The model: the context that it was asked about, until its reply is complete."""

    signs: tuple[type[Frame], ...] = (LLMTextFrame, FunctionCallsStartedFrame, LLMFullResponseEndFrame)
    requests: tuple[type[Frame], ...] = (LLMContextFrame,)

    def __init__(self) -> None:
        self._asked: Given | None = None
        self._has_begun = False
        self._is_open = False  # a reply's start went on, and its end has not

    def given(self, frame: Frame, direction: FrameDirection) -> bool:
        """Keeps the newest context."""
        if isinstance(frame, InterruptionFrame):
            self._asked, self._is_open = None, False
        if not isinstance(frame, LLMContextFrame):
            return False
        self._asked, self._has_begun = (frame, direction), False
        return True

    def passed(self, frame: Frame) -> list[Frame]:
        """Everything but a second start of the same reply."""
        if isinstance(frame, LLMFullResponseStartFrame):
            if self._is_open:
                return []
            self._is_open = True
        elif isinstance(frame, LLMFullResponseEndFrame):
            self._asked, self._is_open = None, False
        elif not isinstance(frame, LLMTextFrame) or frame.text.strip():
            self._has_begun = self._has_begun or isinstance(frame, self.signs)
        return [frame]

    def lacks(self, frame: Frame) -> str:
        """The end of an answer that was asked for and never began."""
        is_empty = isinstance(frame, LLMFullResponseEndFrame) and self._asked is not None and not self._has_begun
        return "the model's answer is empty" if is_empty else ""

    def cut(self) -> list[Frame]:
        """Nothing: an interruption does it, where one is needed."""
        return []

    def redo(self) -> list[Given] | None:
        """The same question. When the caller may have heard half of an answer, nobody else can complete that."""
        if self._asked is None:
            return []
        return None if self._has_begun else [self._asked]


class Speaking:
    """Text to speech: everything from the first sentence on that was not spoken to its end.

    Sentences are announced by a vendor before their audio; one counts as spoken when, after its audio, the next one is
    announced or its own end is told. A vendor that announces several at once has them all said again.
    """

    signs: tuple[type[Frame], ...] = (TTSAudioRawFrame,)
    requests: tuple[type[Frame], ...] = ()

    def __init__(self) -> None:
        self._waiting: list[Frame] = []  # given, and not come out or spoken
        self._spoken_words = 0  # of the texts in there
        self._announced_words = 0
        self._has_audio = False  # since the last announcement
        self._withheld: list[Frame] = []
        self._is_open = False

    def given(self, frame: Frame, direction: FrameDirection) -> bool:
        """Keeps whatever has its place in the order of speech."""
        if isinstance(frame, InterruptionFrame):
            self._waiting = [kept for kept in self._waiting if not kept.interruptible]
            self._withheld, self._is_open = [], False
            self._begin_anew()
        if isinstance(frame, SystemFrame) or direction is not DOWN:
            return False
        self._waiting.append(frame)
        return True

    def passed(self, frame: Frame) -> list[Frame]:
        """An announcement waits for its audio: it may be another vendor who makes that."""
        if isinstance(frame, AggregatedTextFrame) and not isinstance(frame, TTSTextFrame) and frame.will_be_spoken:
            self._announced(frame)
            return []
        if isinstance(frame, TTSAudioRawFrame):
            self._has_audio = True
        elif isinstance(frame, TTSTextFrame) and not frame.pts and self._has_audio:
            self._complete()
        elif isinstance(frame, TTSStoppedFrame):
            self._stopped()
        elif isinstance(frame, LLMFullResponseStartFrame):
            if self._is_open:
                return []
            self._is_open = True
        elif isinstance(frame, LLMFullResponseEndFrame):
            self._is_open = False
        self._came_out(frame)
        if isinstance(frame, TTSAudioRawFrame | TTSTextFrame | TTSStoppedFrame | LLMFullResponseEndFrame):
            withheld, self._withheld = self._withheld, []
            return [*withheld, frame]
        return [frame]

    def lacks(self, _: Frame) -> str:
        """Nothing: Pipecat reports speech that does not come."""
        return ""

    def cut(self) -> list[Frame]:
        """The sentence under way ends where its audio ends."""
        return [SpeechCutFrame()] if self._has_audio else []

    def redo(self) -> list[Given]:
        """The rest of the texts, and what follows them."""
        frames = _without_words(self._waiting, self._spoken_words)
        if self._is_open and not isinstance(next(iter(frames), None), LLMFullResponseStartFrame):
            frames.insert(0, LLMFullResponseStartFrame())
        self._waiting, self._withheld = frames, []
        self._begin_anew()
        return [(frame, DOWN) for frame in frames]

    def _announced(self, frame: AggregatedTextFrame) -> None:
        if self._has_audio:
            self._complete()
        self._announced_words += len(frame.text.split())
        self._withheld.append(frame)

    def _complete(self) -> None:
        self._spoken_words += self._announced_words
        self._announced_words, self._has_audio = 0, False

    def _stopped(self) -> None:
        """A line that stands for itself is over; a reply of the model is when its end comes out."""
        text = next((frame for frame in self._waiting if isinstance(frame, TextFrame | TTSSpeakFrame)), None)
        if isinstance(text, TTSSpeakFrame):
            del self._waiting[: self._waiting.index(text) + 1]
            self._begin_anew()

    def _came_out(self, frame: Frame) -> None:
        """What was given before it is done."""
        if any(kept is frame for kept in self._waiting):
            count = next(index for index, kept in enumerate(self._waiting) if kept is frame) + 1
            if any(isinstance(kept, TextFrame | TTSSpeakFrame) for kept in self._waiting[:count]):
                self._begin_anew()
            del self._waiting[:count]

    def _begin_anew(self) -> None:
        self._spoken_words = self._announced_words = 0
        self._has_audio = False


class Conversing:
    """A model that hears and speaks: the caller's turn, and what it was asked for, until its reply is complete."""

    signs: tuple[type[Frame], ...] = (TTSAudioRawFrame, SaidFrame, FunctionCallsStartedFrame, LLMFullResponseEndFrame)
    requests: tuple[type[Frame], ...] = (AnswerFrame, SayFrame, LLMContextFrame)

    def __init__(self) -> None:
        self._turn = CallerTurn()
        self._rate_hz = 0  # known from the first sound on
        self._answered: list[Given] = []  # the turn that is being answered: its voice and its sound
        self._asked: list[Given] = []
        self._has_begun = False

    def given(self, frame: Frame, direction: FrameDirection) -> bool:
        """Keeps sound and requests; a voice's beginning is for everybody, at once."""
        match frame:
            case InterruptionFrame():
                self._asked = []
            case VADUserStartedSpeakingFrame():
                self._turn.begin()
            case InputAudioRawFrame():
                if self._rate_hz != frame.sample_rate:
                    self._rate_hz, self._turn = frame.sample_rate, CallerTurn(Sound(frame.sample_rate))
                self._turn.hear(frame.audio)
                return True
            case AnswerFrame():
                self._answered = self._voiced(self._turn.end())
                if not frame.is_answered:
                    return False
        if not isinstance(frame, self.requests):
            return False
        if not self._asked:
            self._has_begun = False
        self._asked.append((frame, direction))
        return True

    def passed(self, frame: Frame) -> list[Frame]:
        """Everything."""
        if isinstance(frame, LLMFullResponseEndFrame):
            del self._asked[:1]
            self._has_begun = False
        elif isinstance(frame, self.signs):
            self._has_begun = True
        return [frame]

    def lacks(self, _: Frame) -> str:
        """Nothing: a cough may be answered with silence."""
        return ""

    def cut(self) -> list[Frame]:
        """Nothing: an interruption does it, where one is needed."""
        return []

    def redo(self) -> list[Given] | None:
        """The same requests, the first one with the sound of its turn; and what the caller is saying by now.

        When the caller may have heard half of an answer, nobody else can complete that.
        """
        if self._asked and self._has_begun:
            return None
        answers = any(isinstance(frame, AnswerFrame) for frame, _ in self._asked)
        speaking = self._voiced(self._turn.sound) if self._turn.is_open else []
        return [*(self._answered if answers else ()), *self._asked, *speaking]

    def _voiced(self, sound: bytes) -> list[Given]:
        return [(VADUserStartedSpeakingFrame(), DOWN), (InputAudioRawFrame(sound, self._rate_hz, 1), DOWN)]


def _without_words(frames: list[Frame], count: int) -> list[Frame]:
    """The same frames without the first ``count`` words of their texts; pieces of a model's text are joined."""
    joined: list[Frame] = []
    for frame in frames:
        if isinstance(frame, LLMTextFrame) and joined and isinstance(joined[-1], LLMTextFrame):
            joined[-1] = LLMTextFrame(joined[-1].text + frame.text)
        else:
            joined.append(LLMTextFrame(frame.text) if isinstance(frame, LLMTextFrame) else frame)
    left: list[Frame] = []
    for frame in joined:
        if not isinstance(frame, LLMTextFrame | TTSSpeakFrame) or not count:
            left.append(frame)
            continue
        words = frame.text.split(maxsplit=count)
        rest = words[count] if len(words) > count else ""
        count -= min(count, len(words))
        if rest and isinstance(frame, LLMTextFrame):
            left.append(LLMTextFrame(rest))
        elif rest and isinstance(frame, TTSSpeakFrame):
            left.append(TTSSpeakFrame(rest, append_to_context=frame.append_to_context))
    return left
