"""OpenAI's Realtime API, and gateways that speak it: one model that hears and speaks, over one websocket.

Pipecat's service sends all audio at 24 kHz, connects past the egress wall, measures how much was heard by the clock on
the wall, and is over with its first error. Events are those of the generally available API.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from pipecat.services.llm_service import LLMService

from turncall_media.audio.sound import TELEPHONE
from turncall_media.providers.openai import server
from turncall_media.providers.openai.realtime import RealtimeService
from turncall_media.providers.openai.server import OPENAI, BaseUrl, Model
from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 24_000),
    interim_results=True,
)
OPTIONS_RULES = server.NAMED_IF_COMPATIBLE

_MODEL: Final = "gpt-realtime-2.1"
_ModelName = Annotated[str, Meta(min_length=1, max_length=200)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it sounds and hears."""

    model: Model = ""
    voice: Annotated[str, Meta(min_length=1, max_length=200, description="One of OpenAI's, or of your gateway's.")] = (
        "marin"
    )
    base_url: BaseUrl = ""
    sound: Annotated[
        Literal["pcmu", "pcm"],
        Meta(
            description="How the sound of phone calls travels: as on the telephone, or at 24 kHz for gateways that know"
            " nothing else. That of browser calls has 24 kHz."
        ),
    ] = "pcmu"
    transcription_model: Annotated[_ModelName, Meta(description="Writes down what the caller said.")] = (
        "gpt-4o-mini-transcribe"
    )
    noise_reduction: Annotated[
        Literal["off", "near_field", "far_field"],
        Meta(description="For headsets and telephones, or for loudspeakers in a room."),
    ] = "off"
    speed: Annotated[float, Meta(ge=0.25, le=1.5, description="1 is the voice's own.")] = 1.0
    max_tokens: Annotated[int, Meta(ge=1, le=4096, description="Longest reply, sound included.")] | None = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)


def build(options: Options, context: BuildContext) -> LLMService[Any]:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("openai", OPENAI, options.base_url, options.timeout_ms, context)
    is_telephone = options.sound == "pcmu" and context.rate_hz == TELEPHONE.rate_hz
    kind = "audio/pcmu" if is_telephone else "audio/pcm"
    sound = {"type": kind} if kind == "audio/pcmu" else {"type": kind, "rate": 24_000}
    noise = None if options.noise_reduction == "off" else {"type": options.noise_reduction}
    language = context.language.split("-", maxsplit=1)[0]
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": sound,
                "transcription": {"model": options.transcription_model, "language": language},
                "noise_reduction": noise,
                "turn_detection": None,
            },
            "output": {"format": sound, "voice": options.voice, "speed": options.speed},
        },
    }
    if options.max_tokens is not None:
        session["max_output_tokens"] = options.max_tokens
    return RealtimeService(options.model or _MODEL, session, line, context)


def warm() -> None:
    """Loads the trusted certificates."""
    lines.warm()
