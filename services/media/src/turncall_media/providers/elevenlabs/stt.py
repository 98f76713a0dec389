"""ElevenLabs' Scribe, live over its websocket."""

from base64 import b64encode
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from pipecat.services.stt_latency import ELEVENLABS_REALTIME_TTFS_P99
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory

from turncall_media.stages import lines
from turncall_media.stages.hearing import Message, SocketSTTService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 22_050, 24_000, 44_100, 48_000),
    interim_results=True,
)
ELEVENLABS: Final = "https://api.elevenlabs.io"
MOST_KEYTERMS: Final = 50
_FINAL: Final = ("committed_transcript", "committed_transcript_with_timestamps")
_HARMLESS: Final = ("commit_throttled", "insufficient_audio_activity")
"""Too little was said for words."""
_CATEGORIES: Final = {
    "auth_error": ErrorCategory.AUTHENTICATION,
    "unaccepted_terms": ErrorCategory.AUTHORIZATION,
    "invalid_request": ErrorCategory.INVALID_REQUEST,
    "input_error": ErrorCategory.INVALID_REQUEST,
    "quota_exceeded": ErrorCategory.QUOTA,
    "rate_limited": ErrorCategory.RATE_LIMIT,
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model. The language is the agent's."""

    model: Annotated[str, Meta(pattern=r"^[a-z0-9_.]{1,100}$(?!\n)")] = "scribe_v2_realtime"
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> STTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("elevenlabs", ELEVENLABS, options.base_url, options.timeout_ms, context)
    return ScribeSTTService(options, line, context)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class _Said(Struct, frozen=True):
    message_type: str
    text: str = ""
    error: str = ""


class ScribeSTTService(SocketSTTService):
    """Scribe's words for it: sound travels within JSON, and a commit asks for the words."""

    def __init__(self, options: Options, ours: Line, context: BuildContext) -> None:
        self._rate_hz = context.rate_hz
        asked: dict[str, Any] = {
            "model_id": options.model,
            "language_code": context.language.split("-", maxsplit=1)[0],
            "audio_format": f"pcm_{context.rate_hz}",
            "commit_strategy": "manual",
            "keyterms": context.keyterms[:MOST_KEYTERMS],
        }
        super().__init__(
            ours,
            context,
            path=f"/v1/speech-to-text/realtime?{urlencode(asked, doseq=True)}",
            headers={"xi-api-key": ours.key},
            model=options.model,
            ttfs_s=ELEVENLABS_REALTIME_TTFS_P99,
        )

    def _packed(self, audio: bytes) -> list[Message]:
        return [self._chunk(audio, is_last=False)]

    def _finalizing(self) -> list[Message]:
        return [self._chunk(b"", is_last=True)]

    async def _hear(self, message: Message) -> None:
        said = msgspec.json.decode(message, type=_Said)
        if said.message_type in _FINAL:
            await self._final(said.text.strip(), is_answer=True)
        elif said.message_type == "partial_transcript":
            await self._partial(said.text.strip())
        elif said.error and said.message_type not in _HARMLESS:
            category = _CATEGORIES.get(said.message_type, ErrorCategory.SERVER)
            await self.push_error(f"ElevenLabs reports {said.message_type}: {said.error}", category=category)

    def _chunk(self, audio: bytes, *, is_last: bool) -> str:
        sound = {"audio_base_64": b64encode(audio).decode(), "commit": is_last, "sample_rate": self._rate_hz}
        return msgspec.json.encode({"message_type": "input_audio_chunk", **sound}).decode()
