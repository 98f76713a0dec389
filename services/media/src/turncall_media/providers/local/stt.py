"""Speech to text for the phrases that an agent expects, by pocketsphinx in this process: no key, no network."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from pipecat.frames.frames import Frame, StartFrame, TranscriptionFrame
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.utils.time import time_now_iso8601

from turncall_media.errors import VendorUnusable
from turncall_media.providers.local.grammar import Grammar, grammar
from turncall_media.providers.local.recogniser import MODEL_RATE_HZ, recogniser
from turncall_media.stages.kinds import BuildContext, Capabilities

CAPABILITIES = Capabilities(needs_secret=False, rates_hz=(8000, 16_000))

_TRANSCRIBED_WITHIN_S: Final = 0.4
"""Of the end of speech, 99 of 100 times, on an idle core: half of it is the silence in which the end is found."""


LeastScore = Annotated[
    float,
    Meta(ge=-20, le=0, description="Speech that fits its best phrase worse is not understood. Towards 0: stricter."),
]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to listen for, besides the phrases that the agent's own script expects."""

    phrases: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
        Meta(max_length=1000, description="Whole utterances."),
    ] = ()
    least_score: LeastScore = -5.0


def build(options: Options, context: BuildContext) -> SegmentedSTTService:
    """Listens for the phrases of options and context, and for each keyterm alone.

    Raises `VendorUnusable` without any, or for another language.
    """
    expected = expecting((*context.expected_phrases, *context.keyterms, *options.phrases), context)
    return PocketsphinxSTTService(expected, options.least_score, context.rate_hz)


def expecting(phrases: Sequence[str], context: BuildContext) -> Grammar:
    """What the recogniser listens for. Raises `VendorUnusable` without any phrase, or for another language."""
    if context.language.split("-", maxsplit=1)[0] != "en":
        raise VendorUnusable(f"the local recogniser understands English only, not {context.language!r}")
    if MODEL_RATE_HZ % context.rate_hz:
        raise VendorUnusable(f"the local recogniser takes 8000 or 16000 Hz, not {context.rate_hz}")
    try:
        return grammar(tuple(phrases))
    except ValueError as error:
        raise VendorUnusable(
            "the local recogniser understands only phrases that it expects: list them in options.phrases, "
            "or use the local script as the model"
        ) from error


def warm() -> None:
    """Loads the acoustic model and the dictionary."""
    recogniser()


@cache
def _thread() -> ThreadPoolExecutor:
    """The thread in which this process decodes: one, as there is one decoder."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="pocketsphinx")


def prepare(expected: Grammar) -> None:
    """Makes the grammar ready, in the recogniser's thread."""
    _thread().submit(lambda: recogniser().prepare(expected))


async def understood(audio: bytes, rate_hz: int, expected: Grammar, least_score: float) -> str:
    """What was said (mono s16le), in lower case without punctuation; empty when it was nothing of what is expected."""
    return await asyncio.get_running_loop().run_in_executor(
        _thread(), lambda: recogniser().hear(audio, rate_hz, expected, least_score)
    )


class PocketsphinxSTTService(SegmentedSTTService):
    """Decodes each stretch of speech that the voice detector found. What is not understood makes no transcript."""

    def __init__(self, expected: Grammar, least_score: float, rate_hz: int) -> None:
        super().__init__(
            sample_rate=rate_hz,
            trailing_silence_secs=0,
            ttfs_p99_latency=_TRANSCRIBED_WITHIN_S,
            settings=STTSettings(model="pocketsphinx-en-us", language=None),
        )
        self._grammar = expected
        self._least_score = least_score
        self._rate_hz = rate_hz

    @property
    def wants_wav_segments(self) -> bool:
        """False: bare samples."""
        return False

    def can_generate_metrics(self) -> bool:
        """True: seconds of audio, and the time to the transcript."""
        return True

    async def start(self, frame: StartFrame) -> None:
        """Makes the grammar ready while the greeting is spoken."""
        await super().start(frame)
        prepare(self._grammar)

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, Any]:
        """One final transcript in lower case without punctuation, or none."""
        said = await understood(audio, self._rate_hz, self._grammar, self._least_score)
        if said:
            yield TranscriptionFrame(said, self._user_id, time_now_iso8601(), finalized=True)
