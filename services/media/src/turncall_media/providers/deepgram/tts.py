"""Deepgram's voices over its websocket."""

from typing import Annotated

from msgspec import Meta, Struct
from pipecat.services.deepgram.tts import DeepgramTTSService, DeepgramTTSSettings
from pipecat.services.tts_service import TTSService

from turncall_media.providers.deepgram import line
from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, LinedTTS, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 24_000, 32_000, 48_000),
)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how fast it speaks. A voice speaks one language, which its name ends with."""

    voice: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,100}$(?!\n)")] = "aura-2-helena-en"
    speed: Annotated[float, Meta(ge=0.7, le=1.5, description="1 is the voice's own.")] | None = None
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> TTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return LinedDeepgram(options, line.line(options.base_url, options.timeout_ms, context), context.rate_hz)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class LinedDeepgram(LinedTTS, DeepgramTTSService):
    """Pipecat's service over a line of ours."""

    def __init__(self, options: Options, ours: Line, rate_hz: int) -> None:
        self._line = ours
        DeepgramTTSService.__init__(
            self,
            api_key=ours.key,
            base_url=ours.base_url,
            sample_rate=rate_hz,
            stop_frame_timeout_s=ours.timeout_s,
            reconnect_backoff_min_wait=0.1,
            ws_close_timeout=lines.CLOSE_WITHIN_S,
            settings=DeepgramTTSSettings(model=options.voice, voice=options.voice, language=None, speed=options.speed),
        )
