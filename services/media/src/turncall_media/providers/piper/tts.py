"""Piper's voices on the worker's own processor: no key, no network."""

from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from turncall_media.errors import VendorUnusable
from turncall_media.stages import models
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.onboard import OnboardTTSService
from turncall_media.stages.voices import SentenceTTSService

CAPABILITIES = Capabilities(needs_secret=False)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice of the operator's, and how fast it speaks. A voice speaks one language: its name begins with it."""

    voice: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$(?!\n)",
            description="NAME.onnx and NAME.onnx.json under piper/ in the models.",
        ),
    ] = "en_US-lessac-medium"
    speed: Annotated[float, Meta(ge=0.5, le=2, description="1 is the voice's own.")] | None = None
    timeout_ms: Annotated[
        int, Meta(ge=500, le=60_000, description="For a sentence, the wait for those of other calls included.")
    ] = 10_000


def build(options: Options, context: BuildContext) -> SentenceTTSService:
    """The voice of one call. Raises `VendorUnusable` without the package or the voice."""
    path = models.found("piper", f"{options.voice}.onnx", context)
    from_hz = _rate_hz(models.found("piper", f"{options.voice}.onnx.json", context))
    warm()
    return PiperVoiceTTSService(options, path, from_hz, context)


def warm() -> None:
    """Raises `VendorUnusable` without the package. Voices are loaded by the first call that names them."""
    models.installed("piper", "piper")


class _Audio(Struct, frozen=True):
    sample_rate: int


class _Config(Struct, frozen=True):
    audio: _Audio


def _rate_hz(config: Path) -> int:
    try:
        return msgspec.json.decode(config.read_bytes(), type=_Config).audio.sample_rate
    except msgspec.MsgspecError as error:
        raise VendorUnusable(f"{config} describes no Piper voice: {error}") from error


class PiperVoiceTTSService(OnboardTTSService):
    """A sentence within a sentence at a time."""

    def __init__(self, options: Options, path: Path, from_hz: int, context: BuildContext) -> None:
        super().__init__(
            "piper",
            options.voice,
            partial(_loaded, path),
            from_hz=from_hz,
            rate_hz=context.rate_hz,
            timeout_s=options.timeout_ms / 1000,
        )
        self._length = None if options.speed is None else 1 / options.speed

    def _pieces(self, model: Any, text: str) -> Iterator[bytes]:
        manner = import_module("piper").SynthesisConfig(length_scale=self._length)
        for piece in model.synthesize(text, syn_config=manner):
            yield piece.audio_int16_bytes


@cache
def _loaded(path: Path) -> Any:
    return import_module("piper").PiperVoice.load(path)
