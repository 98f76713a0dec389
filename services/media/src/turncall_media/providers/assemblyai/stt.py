"""AssemblyAI's streaming transcription, version 3, over its websocket."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from pipecat.services.stt_latency import ASSEMBLYAI_TTFS_P99
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory

from turncall_media.stages import lines
from turncall_media.stages.hearing import Message, SocketSTTService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, Line, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",), interim_results=True
)
ASSEMBLYAI: Final = "https://streaming.assemblyai.com"
MOST_KEYTERMS: Final = 100
SHORTEST_S: Final = 0.05
LONGEST_S: Final = 0.5
"""Of the sound in one message. AssemblyAI ends a session whose messages are shorter than 50 ms or longer than 1 s."""
_ENGLISH, _OTHERS = "universal-streaming-english", "universal-streaming-multilingual"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what helps it."""

    model: Annotated[
        str,
        Meta(pattern=r"^([a-z0-9-]{1,100})?$(?!\n)", description="Empty for the one that knows the agent's language."),
    ] = ""
    format_turns: Annotated[bool, Meta(description="Punctuation and capitals, for which words come later.")] = False
    base_url: BaseUrl = ""
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> STTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("assemblyai", ASSEMBLYAI, options.base_url, options.timeout_ms, context)
    return UniversalSTTService(options, line, context)


def warm() -> None:
    """Loads what all connections share."""
    lines.warm()


class _Said(Struct, frozen=True):
    type: str = ""
    transcript: str = ""
    end_of_turn: bool = False
    turn_is_formatted: bool = False
    error: str = ""


class UniversalSTTService(SocketSTTService):
    """AssemblyAI's words for it. A sound without words has no turn, and nothing is said of it."""

    WORDLESS_S = 0.7
    GOODBYE = '{"type":"Terminate"}'

    def __init__(self, options: Options, ours: Line, context: BuildContext) -> None:
        self._is_formatted = options.format_turns
        self._unsent = b""
        model = options.model or (_ENGLISH if context.language.startswith("en") else _OTHERS)
        super().__init__(
            ours,
            context,
            path=f"/v3/ws?{urlencode(_query(model, options, context))}",
            headers={"Authorization": ours.key},
            model=model,
            ttfs_s=ASSEMBLYAI_TTFS_P99,
        )

    def _packed(self, audio: bytes) -> list[Message]:
        """In messages of a length that AssemblyAI takes; the rest waits for what follows."""
        sound = self._unsent + audio
        least, most = self._bytes(SHORTEST_S), self._bytes(LONGEST_S)
        messages: list[Message] = []
        while len(sound) >= least:
            size = most if len(sound) >= most + least else min(most, len(sound))
            messages.append(sound[:size])
            sound = sound[size:]
        self._unsent = sound
        return messages

    def _finalizing(self) -> list[Message]:
        rest, self._unsent = self._unsent, b""
        last: list[Message] = [rest.ljust(self._bytes(SHORTEST_S), b"\0")] if rest else []
        return [*last, '{"type":"ForceEndpoint"}']

    async def _hear(self, message: Message) -> None:
        said = msgspec.json.decode(message, type=_Said)
        if said.error:
            await self.push_error(f"AssemblyAI reports an error: {said.error}", category=ErrorCategory.SERVER)
        elif said.type == "Turn" and said.end_of_turn:
            if self._is_formatted and not said.turn_is_formatted:
                return  # the same words come again, as they are written
            await self._final(said.transcript.strip(), is_answer=True)
        elif said.type == "Turn":
            await self._partial(said.transcript.strip())

    def _bytes(self, duration_s: float) -> int:
        return 2 * int(self._bytes_per_s * duration_s / 2)


def _query(model: str, options: Options, context: BuildContext) -> dict[str, Any]:
    """What AssemblyAI is to do with the audio. A confidence of 1 is never reached: it ends no turn by itself, but for a
    long silence."""
    told: dict[str, Any] = {
        "sample_rate": context.rate_hz,
        "encoding": "pcm_s16le",
        "speech_model": model,
        "format_turns": str(options.format_turns).lower(),
        "end_of_turn_confidence_threshold": 1.0,
    }
    if context.keyterms:
        told["keyterms_prompt"] = msgspec.json.encode(context.keyterms[:MOST_KEYTERMS]).decode()
    return told
