"""ElevenLabs' voices over its websocket, with the time of each word."""

from typing import Annotated, Final

from msgspec import Meta, Struct
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService, ElevenLabsTTSSettings

from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, LinedTTS, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    word_times=True,
)
ELEVENLABS: Final = "https://api.elevenlabs.io"

Share = Annotated[float, Meta(ge=0, le=1)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how it speaks."""

    voice: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,100}$(?!\n)", description="A voice's id.")] = (
        "21m00Tcm4TlvDq8ikWAM"
    )
    model: Annotated[str, Meta(pattern=r"^[a-z0-9_.]{1,100}$(?!\n)")] = "eleven_flash_v2_5"
    stability: Annotated[Share, Meta(description="Lower is livelier.")] | None = None
    similarity_boost: Annotated[Share, Meta(description="How close to the recorded voice.")] | None = None
    speed: Annotated[float, Meta(ge=0.7, le=1.2, description="1 is the voice's own.")] | None = None
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> ElevenLabsTTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("elevenlabs", ELEVENLABS, options.base_url, options.timeout_ms, context)
    return LinedElevenLabs(options, line, context)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class LinedElevenLabs(LinedTTS, ElevenLabsTTSService):
    """Pipecat's service over a line of ours."""

    def __init__(self, options: Options, line: Line, context: BuildContext) -> None:
        self._line = line
        ElevenLabsTTSService.__init__(
            self,
            api_key=line.key,
            url=line.base_url,
            sample_rate=context.rate_hz,
            stop_frame_timeout_s=line.timeout_s,
            reconnect_backoff_min_wait=0.1,
            ws_close_timeout=lines.CLOSE_WITHIN_S,
            settings=ElevenLabsTTSSettings(
                model=options.model,
                voice=options.voice,
                language=context.language.split("-", maxsplit=1)[0],
                stability=options.stability,
                similarity_boost=options.similarity_boost,
                speed=options.speed,
            ),
        )
