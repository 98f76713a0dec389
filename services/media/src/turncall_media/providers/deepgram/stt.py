"""Deepgram's live transcription over its websocket."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from pipecat.services.stt_latency import DEEPGRAM_TTFS_P99
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory
from websockets.exceptions import InvalidStatus

from turncall_media.providers.deepgram import line
from turncall_media.stages import lines
from turncall_media.stages.hearing import Message, SocketSTTService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",), interim_results=True
)

_NOVA_3: Final = "nova-3"

OPTIONS_RULES: dict[str, Any] = {
    "if": {"required": ["keyterms"], "properties": {"keyterms": {"minItems": 1}}},
    "then": {"properties": {"model": {"pattern": f"^{_NOVA_3}"}}},
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what helps it. The language is the agent's."""

    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$(?!\n)")] = "nova-3-general"
    keyterms: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...],
        Meta(max_length=100, description="Names and words that callers are likely to say; for nova-3 models."),
    ] = ()
    smart_format: Annotated[bool, Meta(description="Dates, amounts and numbers as they are written.")] = False
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000

    def __post_init__(self) -> None:
        if self.keyterms and not self.model.startswith(_NOVA_3):
            raise ValueError("only nova-3 models take keyterms")


def build(options: Options, context: BuildContext) -> STTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return DeepgramLiveSTTService(options, line.line(options.base_url, options.timeout_ms, context), context)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class _Alternative(Struct, frozen=True):
    transcript: str = ""


class _Channel(Struct, frozen=True):
    alternatives: tuple[_Alternative, ...] = ()


class _Results(Struct, frozen=True):
    channel: _Channel
    is_final: bool = False
    from_finalize: bool = False


class _Message(Struct, frozen=True):
    type: str
    description: str = ""


class DeepgramLiveSTTService(SocketSTTService):
    """Deepgram's words for it. It reports on silence too, every second."""

    GOODBYE = '{"type":"CloseStream"}'

    def __init__(self, options: Options, ours: Line, context: BuildContext) -> None:
        super().__init__(
            ours,
            context,
            path=f"/v1/listen?{_query(options, context)}",
            headers={"Authorization": f"Token {ours.key}"},
            model=options.model,
            ttfs_s=DEEPGRAM_TTFS_P99,
        )

    def _finalizing(self) -> list[Message]:
        return ['{"type":"Finalize"}']

    def _keeping_alive(self) -> list[Message]:
        return ['{"type":"KeepAlive"}']

    def _refusal(self, error: InvalidStatus) -> str:
        reason = error.response.headers.get("dg-error", "no reason given")
        return f"Deepgram refused the connection with {error.response.status_code}: {reason}"

    async def _hear(self, message: Message) -> None:
        known = msgspec.json.decode(message, type=_Message)
        if known.type == "Error":
            await self.push_error(f"Deepgram reports an error: {known.description}", category=ErrorCategory.SERVER)
        elif known.type == "Results":
            results = msgspec.json.decode(message, type=_Results)
            text = results.channel.alternatives[0].transcript if results.channel.alternatives else ""
            if results.is_final:
                await self._final(text, is_answer=results.from_finalize)
            else:
                await self._partial(text)


def _query(options: Options, context: BuildContext) -> str:
    """What Deepgram is to do with the audio, as the query of its URL."""
    told = {
        "model": options.model,
        "language": context.language,
        "encoding": "linear16",
        "channels": 1,
        "sample_rate": context.rate_hz,
        "interim_results": "true",
        "endpointing": "false",
        "punctuate": "true",
        "smart_format": str(options.smart_format).lower(),
    }
    name = "keyterm" if options.model.startswith(_NOVA_3) else "keywords"  # older models know words only
    terms = dict.fromkeys((*options.keyterms, *context.keyterms))
    return urlencode([*told.items(), *((name, term) for term in terms)])
