"""Cartesia's voices over its websocket, with the time of each word."""

import re
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from pipecat.services.cartesia.tts import CartesiaTTSService, CartesiaTTSSettings, GenerationConfig
from pipecat.utils.errors import classify_http_status_code

from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, LinedTTS, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 22_050, 24_000, 44_100, 48_000),
    word_times=True,
)
CARTESIA: Final = "https://api.cartesia.ai"
_STATUS: Final = re.compile(r"'status_code': (\d{3})\b")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how it speaks."""

    voice: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,100}$(?!\n)", description="A voice's id.")] = (
        "71a7ad14-091c-4e8e-a314-022ece01c121"
    )
    model: Annotated[str, Meta(pattern=r"^[a-z0-9_.-]{1,100}$(?!\n)")] = "sonic-3"
    speed: Annotated[float, Meta(ge=0.6, le=1.5, description="1 is the voice's own.")] | None = None
    volume: Annotated[float, Meta(ge=0.5, le=2, description="1 is the voice's own.")] | None = None
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> CartesiaTTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("cartesia", CARTESIA, options.base_url, options.timeout_ms, context)
    return LinedCartesia(options, line, context)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class LinedCartesia(LinedTTS, CartesiaTTSService):
    """Pipecat's service over a line of ours."""

    def __init__(self, options: Options, line: Line, context: BuildContext) -> None:
        self._line = line
        manner = GenerationConfig(speed=options.speed, volume=options.volume)
        CartesiaTTSService.__init__(
            self,
            api_key=line.key,
            url=f"{line.base_url}/tts/websocket",
            sample_rate=context.rate_hz,
            stop_frame_timeout_s=line.timeout_s,
            reconnect_backoff_min_wait=0.1,
            ws_close_timeout=lines.CLOSE_WITHIN_S,
            settings=CartesiaTTSSettings(
                model=options.model,
                voice=options.voice,
                language=context.language.split("-", maxsplit=1)[0],
                generation_config=manner if manner.model_dump(exclude_none=True) else None,
            ),
        )

    async def push_error(self, error_msg: str, *rest: Any, **known: Any) -> None:
        """Pipecat passes an error of the server on as mere text; the status in it says whether another try may help."""
        told = _STATUS.search(error_msg)
        if told is not None:
            known.setdefault("category", classify_http_status_code(int(told[1])))
        await super().push_error(error_msg, *rest, **known)
