"""espeak-ng's voices, synthesised in this process: no key, no network, some 7 ms a sentence."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated, Any, Final

import numpy as np
import soxr  # type: ignore[import-untyped]  # publishes no type information
from msgspec import Meta, Struct
from pipecat.frames.frames import Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from turncall_media.errors import VendorUnusable
from turncall_media.providers.local.espeak import Voice, espeak
from turncall_media.stages.kinds import BuildContext, Capabilities

CAPABILITIES = Capabilities(needs_secret=False)

CHUNK_MS: Final = 100
"""Audio in one frame: short, so that an interruption leaves little behind."""
_VOICES: Final = {
    "da": "da",
    "de": "de",
    "en": "en-us",
    "en-GB": "en",
    "en-US": "en-us",
    "es": "es",
    "es-MX": "es-419",
    "fi": "fi",
    "fr": "fr",
    "fr-BE": "fr-be",
    "fr-CH": "fr-ch",
    "it": "it",
    "nb": "nb",
    "nl": "nl",
    "pl": "pl",
    "pt": "pt",
    "pt-BR": "pt-br",
    "sv": "sv",
    "tr": "tr",
    "uk": "uk",
}


VoiceName = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9-]*(\+[A-Za-z0-9_-]+)?)?$(?!\n)", max_length=64)]
WordsPerMinute = Annotated[int, Meta(ge=80, le=450, description="Speed of speech.")]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How espeak-ng speaks. An empty ``voice`` is the one of the agent's language."""

    voice: VoiceName = ""
    words_per_minute: WordsPerMinute = 160
    pitch: Annotated[int, Meta(ge=0, le=99, description="50 is the voice's own.")] = 50
    volume: Annotated[int, Meta(ge=0, le=200, description="100 is the voice's own.")] = 100


def build(options: Options, context: BuildContext) -> TTSService:
    """A voice at the pipeline's rate. Raises `VendorUnusable` for a voice or a language that espeak-ng lacks."""
    name = known_voice(options.voice, context.language)
    voice = Voice(name=name, words_per_minute=options.words_per_minute, pitch=options.pitch, volume=options.volume)
    return EspeakTTSService(voice, context.rate_hz)


def warm() -> None:
    """Starts the library."""
    espeak()


def known_voice(name: str, language: str) -> str:
    """The voice of that name, or the language's own. Raises `VendorUnusable` when espeak-ng lacks it."""
    known = name or voice_for(language)
    if not espeak().has(known):
        raise VendorUnusable(f"espeak-ng has no voice {known!r}")
    return known


def voice_for(language: str) -> str:
    """The voice for a BCP 47 language: of its region, else of the language. Raises `VendorUnusable`."""
    voice = _VOICES.get(language) or _VOICES.get(language.split("-", maxsplit=1)[0])
    if voice is None:
        raise VendorUnusable(
            f"the local voice speaks no {language!r}, only {', '.join(sorted(_VOICES))}: name one in options.voice"
        )
    return voice


class EspeakTTSService(TTSService):
    """Speaks sentence by sentence, each synthesised whole and handed on in chunks."""

    def __init__(self, voice: Voice, rate_hz: int) -> None:
        super().__init__(
            sample_rate=rate_hz,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model="espeak-ng", voice=voice.name, language=None),
        )
        self._voice = voice
        self._rate_hz = rate_hz

    def can_generate_metrics(self) -> bool:
        """True: characters and the time to the first audio."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, Any]:
        """Mono s16le at the pipeline's rate, in frames of `CHUNK_MS`; the last one may be shorter."""
        speech = await asyncio.to_thread(synthesise, text, self._voice, self._rate_hz)
        await self.start_tts_usage_metrics(text)
        await self.stop_ttfb_metrics()
        for chunk in chunks(speech, self._rate_hz):
            yield TTSAudioRawFrame(chunk, self._rate_hz, 1, context_id=context_id)


def chunks(speech: bytes, rate_hz: int) -> Iterator[bytes]:
    """Mono s16le in pieces of `CHUNK_MS`; the last one may be shorter."""
    step = 2 * rate_hz * CHUNK_MS // 1000
    for start in range(0, len(speech), step):
        yield speech[start : start + step]


def synthesise(text: str, voice: Voice, rate_hz: int) -> bytes:
    """A text as mono s16le at ``rate_hz``. Resampled in one piece: a stream resampler would hold back its end."""
    library = espeak()
    speech = np.frombuffer(library.speak(text, voice), dtype=np.int16)
    resampled: np.ndarray[Any, np.dtype[np.int16]] = soxr.resample(speech, library.rate_hz, rate_hz)
    return resampled.astype("<i2").tobytes()
