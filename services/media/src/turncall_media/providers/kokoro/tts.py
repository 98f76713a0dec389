"""Kokoro's voices on the worker's own processor: one model of all voices, no key, no network."""

from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta, Struct

from turncall_media.errors import VendorUnusable
from turncall_media.stages import models
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.onboard import OnboardTTSService
from turncall_media.stages.voices import SentenceTTSService

CAPABILITIES = Capabilities(needs_secret=False)
RATE_HZ: Final = 24_000
MODEL: Final = "kokoro-v1.0.onnx"
VOICES: Final = "voices-v1.0.bin"
SPOKEN: Final = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
"""By the first letter of a voice: what it speaks, as espeak-ng calls it, which writes down how the words sound."""
OF_A_LANGUAGE: Final = {
    "en": "af_heart",
    "en-GB": "bf_emma",
    "es": "ef_dora",
    "fr": "ff_siwis",
    "hi": "hf_alpha",
    "it": "if_sara",
    "pt": "pf_dora",
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how fast it speaks."""

    voice: Annotated[
        str,
        Meta(
            pattern=r"^([abefhip][fm]_[a-z]{1,40})?$(?!\n)",
            description="One of Kokoro's; empty for one that speaks the agent's language. Those for Japanese and "
            "Chinese need more than espeak-ng, and are left out.",
        ),
    ] = ""
    speed: Annotated[float, Meta(ge=0.5, le=2, description="1 is the voice's own.")] = 1.0
    timeout_ms: Annotated[
        int, Meta(ge=500, le=60_000, description="For a sentence, the wait for those of other calls included.")
    ] = 10_000


def build(options: Options, context: BuildContext) -> SentenceTTSService:
    """The voice of one call. Raises `VendorUnusable` without the package or the model, and for a language that no voice
    speaks."""
    voice = options.voice or _voice(context.language)
    model, voices = models.found("kokoro", MODEL, context), models.found("kokoro", VOICES, context)
    warm()
    return KokoroTTSService(options, voice, model, voices, context)


def warm() -> None:
    """Raises `VendorUnusable` without the package. The model is loaded by the first call."""
    models.installed("kokoro", "kokoro_onnx")


def _voice(language: str) -> str:
    voice = OF_A_LANGUAGE.get(language) or OF_A_LANGUAGE.get(language.split("-", maxsplit=1)[0])
    if voice is None:
        raise VendorUnusable(f"vendor 'kokoro' speaks {', '.join(sorted(OF_A_LANGUAGE))}, not {language}")
    return voice


class KokoroTTSService(OnboardTTSService):
    """A sentence at a time."""

    def __init__(self, options: Options, voice: str, model: Path, voices: Path, context: BuildContext) -> None:
        super().__init__(
            "kokoro",
            voice,
            partial(_loaded, model, voices),
            from_hz=RATE_HZ,
            rate_hz=context.rate_hz,
            timeout_s=options.timeout_ms / 1000,
        )
        self._voice = voice
        self._speed = options.speed

    def _pieces(self, model: Any, text: str) -> Iterator[bytes]:
        samples, _ = model.create(text, voice=self._voice, speed=self._speed, lang=SPOKEN[self._voice[0]])
        yield (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


@cache
def _loaded(model: Path, voices: Path) -> Any:
    return import_module("kokoro_onnx").Kokoro(str(model), str(voices))
