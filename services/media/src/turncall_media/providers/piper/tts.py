"""Piper's voices on the worker's own processor: no key, no network."""

from collections.abc import AsyncIterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    RuntimeException,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.services.settings import TTSSettings

from turncall_media import models
from turncall_media.errors import VendorUnusable
from turncall_media.kinds import BuildContext, Capabilities
from turncall_media.voices import SentenceTTSService

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


class PiperVoiceTTSService(SentenceTTSService):
    """One voice for all calls of the worker that name it."""

    FAILURES = (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NoSuchFile,
        RuntimeException,
        KeyError,
        OSError,
        RuntimeError,
        TimeoutError,
        ValueError,
    )

    def __init__(self, options: Options, path: Path, from_hz: int, context: BuildContext) -> None:
        timeout_s = options.timeout_ms / 1000
        settings = TTSSettings(model=options.voice, voice=options.voice, language=None)
        super().__init__(settings, from_hz=from_hz, rate_hz=context.rate_hz, timeout_s=timeout_s)
        self._load = partial(_loaded, path)
        self._timeout_s = timeout_s
        self._length = None if options.speed is None else 1 / options.speed

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat narrows it
        """Loads the voice, if no call before did. One that cannot be loaded is final."""
        await super().setup(setup)
        try:
            await models.at_work("piper", self._load, models.LOAD_WITHIN_S)
        except self.FAILURES as error:
            why = f"the voice does not load: {error or type(error).__name__}"
            await self.push_error(why, exception=error, force_treat_as_permanent=True)

    async def _speech(self, text: str) -> AsyncIterator[bytes]:
        """A sentence within a sentence at a time."""
        manner = import_module("piper").SynthesisConfig(length_scale=self._length)
        pieces = iter(self._load().synthesize(text, syn_config=manner))
        while True:
            piece = await models.at_work("piper", partial(next, pieces, None), self._timeout_s)
            if piece is None:
                return
            yield piece.audio_int16_bytes


@cache
def _loaded(path: Path) -> Any:
    return import_module("piper").PiperVoice.load(path)
