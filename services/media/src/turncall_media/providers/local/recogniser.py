"""pocketsphinx behind a door: which of the expected phrases was said, if any."""

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pocketsphinx
from msgspec import Struct

from turncall_media.providers.local.grammar import END, START, Grammar, Step
from turncall_media.providers.local.pronunciation import arpabet

MODEL_RATE_HZ: Final = 16_000
LARGEST_GRAMMARS: Final = 64
"""Grammars kept ready; the one used longest ago is dropped."""
_STEP: Final = 2 * MODEL_RATE_HZ // 20
"""50 ms. pocketsphinx holds the interpreter's lock for as long as a call into it takes, so audio goes in by the piece:
the event loop then waits 2 ms at most, not 60."""


class Heard(Struct, frozen=True, kw_only=True):
    """A word in the sound: how long, in frames of 10 ms, and how well it fits, as a natural logarithm."""

    text: str
    frames: int
    fit: float


class Recogniser:
    """One decoder for all calls of this process: the acoustic model once in memory, and a search for each grammar.

    A second decoder would not be faster, since decoding holds the interpreter's lock. Methods block: call them in a
    thread. Utterances are decoded one after another, each from the same state, so calls do not hear one another.
    """

    def __init__(self) -> None:
        model = Path(pocketsphinx.__file__).parent / "model" / "en-us"
        self._decoder: Any = pocketsphinx.Decoder(
            hmm=str(model / "en-us"), dict=str(model / "cmudict-en-us.dict"), lm=None, loglevel="FATAL"
        )
        self._cepstral_mean: str = self._decoder.get_cmn(False)
        self._lock = threading.Lock()
        self._ready: OrderedDict[str, None] = OrderedDict()

    def prepare(self, grammar: Grammar) -> None:
        """Makes the grammar ready, so that the first utterance does not wait for it (some ms)."""
        with self._lock:
            self._prepare(grammar)

    def hear(self, pcm: bytes, rate_hz: int, grammar: Grammar, least_score: float) -> str:
        """The words said, or nothing: for silence, for speech outside the grammar, and for speech whose score is less
        than ``least_score`` (see `score`). ``pcm`` is mono s16le of one utterance. A last word that leaves the phrase
        unfinished is dropped: it is the line's noise."""
        samples = widened(np.frombuffer(pcm, dtype="<i2"), rate_hz).tobytes()
        with self._lock:
            self._prepare(grammar)
            decoder = self._decoder
            decoder.activate_search(grammar.name)
            decoder.set_cmn(self._cepstral_mean)
            decoder.start_utt()
            try:
                for start in range(0, len(samples), _STEP):
                    decoder.process_raw(samples[start : start + _STEP], no_search=False, full_utt=False)
            finally:
                decoder.end_utt()
            heard = _heard(decoder)
        fitting = [
            heard[:end] for end in (len(heard), len(heard) - 1) if grammar.accepts([w.text for w in heard[:end]])
        ]
        return " ".join(word.text for word in fitting[0]) if fitting and score(fitting[0]) >= least_score else ""

    def _prepare(self, grammar: Grammar) -> None:
        if grammar.name in self._ready:
            self._ready.move_to_end(grammar.name)
            return
        for word in sorted(grammar.words()):
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, arpabet(word), False)
        automaton = self._decoder.create_fsg(grammar.name, START, END, [_transition(step) for step in grammar.steps])
        self._decoder.add_fsg(grammar.name, automaton)
        self._ready[grammar.name] = None
        if len(self._ready) > LARGEST_GRAMMARS:
            oldest, _ = self._ready.popitem(last=False)
            self._decoder.remove_search(oldest)


_LOADING = threading.Lock()


def recogniser() -> Recogniser:
    """The one of this process; takes 0.2 s at first."""
    with _LOADING:
        return _loaded()


@cache
def _loaded() -> Recogniser:
    return Recogniser()


def widened(samples: np.ndarray[Any, np.dtype[np.int16]], rate_hz: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Samples at the model's 16 kHz. Telephone audio is repeated sample by sample: the mirror image that this leaves
    between 4 and 8 kHz stands in for what the line cut off, and 68 of 68 test phrases were understood, against 65 with
    a clean resampler. Raises `ValueError` for rates that do not divide 16 kHz."""
    times, rest = divmod(MODEL_RATE_HZ, rate_hz)
    if rest:
        raise ValueError(f"the local recogniser takes 8000 or 16000 Hz, not {rate_hz}")
    return np.repeat(samples, times)


def score(heard: Sequence[Heard]) -> float:
    """How well the words fit the sound: 0 is as well as any sound could, recorded speech has -2 to -4, words that were
    not said mostly less than -4.5. The mean over the frames of all words, silences left out; natural logarithm."""
    frames = sum(word.frames for word in heard)
    return sum(word.fit for word in heard) / frames if frames else -math.inf


def _heard(decoder: Any) -> list[Heard]:
    """The words of the best path, without silences and noises. Beginnings of a phrase are among them, since
    pocketsphinx prefers them to a whole one when they fit the last sounds better."""
    if decoder.hyp() is None:
        return []
    return [
        Heard(
            text=segment.word.partition("(")[0],
            frames=segment.end_frame - segment.start_frame + 1,
            fit=math.log(max(segment.ascore, 1e-300)),
        )
        for segment in decoder.seg()
        if segment.word[0] not in "<[+("
    ]


def _transition(step: Step) -> tuple[Any, ...]:
    ends = (step.source, step.target, step.weight)
    return ends if step.word is None else (*ends, step.word)
