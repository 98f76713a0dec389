"""Cartesia's Ink, live over its websocket."""

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct
from pipecat.services.stt_latency import CARTESIA_TTFS_P99
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import classify_http_status_code

from turncall_media.stages import lines
from turncall_media.stages.hearing import Message, SocketSTTService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",), interim_results=True
)
CARTESIA: Final = "https://api.cartesia.ai"
VERSION: Final = "2026-03-01"
"""Of the protocol, which Cartesia wants to be told."""
MOST_KEYTERMS: Final = 100
_KNOW_KEYTERMS: Final = ("ink-2", "ink-preview")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model. The language is the agent's."""

    model: Annotated[str, Meta(pattern=r"^[a-z0-9_.-]{1,100}$(?!\n)")] = "ink-whisper"
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> STTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("cartesia", CARTESIA, options.base_url, options.timeout_ms, context)
    return InkSTTService(options, line, context)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class _Said(Struct, frozen=True):
    type: str
    text: str = ""
    is_final: bool = False
    message: str = ""
    status_code: int = 500


class InkSTTService(SocketSTTService):
    """Ink's words for it. Final words come in parts, until a flush is done."""

    GOODBYE = "done"

    def __init__(self, options: Options, ours: Line, context: BuildContext) -> None:
        self._parts: list[str] = []
        asked: dict[str, Any] = {
            "model": options.model,
            "language": context.language.split("-", maxsplit=1)[0],
            "encoding": "pcm_s16le",
            "sample_rate": context.rate_hz,
        }
        if options.model.startswith(_KNOW_KEYTERMS):
            asked["keyterm"] = context.keyterms[:MOST_KEYTERMS]
        super().__init__(
            ours,
            context,
            path=f"/stt/websocket?{urlencode(asked, doseq=True, quote_via=quote)}",
            headers={"Cartesia-Version": VERSION, "X-API-Key": ours.key},
            model=options.model,
            ttfs_s=CARTESIA_TTFS_P99,
        )

    def _finalizing(self) -> list[Message]:
        return ["finalize"]

    async def _hear(self, message: Message) -> None:
        said = msgspec.json.decode(message, type=_Said)
        match said.type:
            case "transcript" if said.is_final:
                self._parts.append(said.text.strip())
            case "transcript":
                await self._partial(" ".join((*self._parts, said.text.strip())).strip())
            case "flush_done":
                words, self._parts = " ".join(filter(None, self._parts)), []
                await self._final(words, is_answer=True)
            case "error":
                category = classify_http_status_code(said.status_code)
                await self.push_error(f"Cartesia reports an error: {said.message}", category=category)
