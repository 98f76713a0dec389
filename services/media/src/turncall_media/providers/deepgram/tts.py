"""Deepgram's voices over its websocket."""

from typing import Annotated, Any

from msgspec import Meta, Struct
from pipecat.services.deepgram.tts import DeepgramTTSService, DeepgramTTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.services.websocket_service import ReportErrorCallback
from pipecat.utils.errors import ErrorCategory
from websockets.asyncio.client import ClientConnection

from turncall_media.kinds import BuildContext, Capabilities
from turncall_media.providers.deepgram import line
from turncall_media.providers.deepgram.line import BaseUrl, Line, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 24_000, 32_000, 48_000),
)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how fast it speaks. A voice speaks one language, which its name ends with."""

    voice: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,100}$")] = "aura-2-helena-en"
    speed: Annotated[float, Meta(ge=0.7, le=1.5, description="1 is the voice's own.")] | None = None
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> TTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return LinedTTSService(options, line.line(options.base_url, options.timeout_ms, context), context.rate_hz)


def warm() -> None:
    """Loads what all connections share."""
    line.warm()


class LinedTTSService(DeepgramTTSService):
    """Pipecat's service over a line of ours, which says so when speech breaks off."""

    def __init__(self, options: Options, ours: Line, rate_hz: int) -> None:
        super().__init__(
            api_key=ours.key,
            base_url=ours.base_url,
            sample_rate=rate_hz,
            stop_frame_timeout_s=ours.timeout_s,
            reconnect_backoff_min_wait=0.1,
            ws_close_timeout=line.CLOSE_WITHIN_S,
            settings=DeepgramTTSSettings(model=options.voice, voice=options.voice, language=None, speed=options.speed),
        )
        self._line = ours

    async def _websocket_connect(self, uri: str, **kwargs: Any) -> ClientConnection:
        connect = super()._websocket_connect
        return await self._line.open(uri, lambda **known: connect(uri, **known, **kwargs))

    async def _maybe_try_reconnect(
        self, error_message: str, report_error: ReportErrorCallback, error: Exception | None = None
    ) -> bool:
        """Pipecat reconnects without a word; the sentence under way is lost."""
        if not self._disconnecting and self.has_active_audio_context():
            await self.push_error("Deepgram's speech broke off", category=ErrorCategory.CONNECTIVITY)
        return await super()._maybe_try_reconnect(error_message, report_error, error)

    async def _record_context_audio_outcome(self, context_id: str, received_audio: bool) -> None:
        """A socket on which nothing came when speech was due is stuck: the next sentence gets a new one."""
        await super()._record_context_audio_outcome(context_id, received_audio)
        if not received_audio and self._websocket is not None:
            self._websocket.transport.abort()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return line.category(exception)
