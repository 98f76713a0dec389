"""Deepgram's live transcription over its websocket."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.settings import STTSettings
from pipecat.services.stt_latency import DEEPGRAM_TTFS_P99
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.time import time_now_iso8601
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from turncall_egress import EgressError
from turncall_media import lines
from turncall_media.kinds import BuildContext, Capabilities
from turncall_media.lines import CLOSE_WITHIN_S, BaseUrl, Line, TimeoutMs
from turncall_media.providers.deepgram import line

CAPABILITIES = Capabilities(
    needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",), interim_results=True
)

KEEP_ALIVE_S: Final = 5.0
"""Deepgram closes a socket after 10 s without a message (its NET-0001)."""
SEND_WITHIN_S: Final = 2.0
STABLE_S: Final = 5.0
"""A socket that lived this long counts as one that worked."""
PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0)
"""Before each try to connect again; after the last one Deepgram is given up."""
BACKLOG_S: Final = 5
"""Of the caller's speech kept while there is no socket: the newest."""
LONGEST_MESSAGE: Final = 1 << 20
_NOVA_3: Final = "nova-3"

OPTIONS_RULES: dict[str, Any] = {
    "if": {"required": ["keyterms"], "properties": {"keyterms": {"minItems": 1}}},
    "then": {"properties": {"model": {"pattern": f"^{_NOVA_3}"}}},
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what helps it. The language is the agent's."""

    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "nova-3-general"
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


class DeepgramLiveSTTService(STTService):
    """One socket after another for the length of the call. Our voice detector ends the turns, so Deepgram's endpointing
    is off: each end of speech asks for what is still missing, and some word of Deepgram is due within the timeout.
    """

    def __init__(self, options: Options, ours: Line, context: BuildContext) -> None:
        super().__init__(
            sample_rate=context.rate_hz,
            ttfs_p99_latency=DEEPGRAM_TTFS_P99,
            settings=STTSettings(model=options.model, language=None),
        )
        self._line = ours
        self._url = f"{ours.base_url}/v1/listen?{_query(options, context)}"
        self._backlog = bytearray()
        self._backlog_bytes = 2 * context.rate_hz * BACKLOG_S
        self._socket: ClientConnection | None = None
        self._serving: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._patience: asyncio.Timeout | None = None
        self._is_due = False
        self._is_unfinished = False

    def can_generate_metrics(self) -> bool:
        """True: seconds of audio, and the time to the transcript."""
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat narrows it
        """Connects. A server that does not answer holds up no call: it is tried again while the agent speaks."""
        await super().setup(setup)
        self._serving = self.create_task(self._serve(), "socket")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._line.timeout_s):
                await self._settled.wait()

    async def stop(self, frame: EndFrame) -> None:
        """Closes the socket."""
        await super().stop(frame)
        await self._leave()

    async def cancel(self, frame: CancelFrame) -> None:
        """Closes the socket."""
        await super().cancel(frame)
        await self._leave()

    async def cleanup(self) -> None:
        """Closes the socket, if nothing else did."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._leave()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Sends the audio, or keeps it for the next socket. Transcripts come by themselves."""
        if self._socket is None:
            self._backlog += audio
            del self._backlog[: -self._backlog_bytes]
        else:
            await self._send(self._socket, audio)
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """At the end of speech asks for the words that are still missing."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._is_unfinished = self._socket is None
            if self._socket is not None:
                await self._finalize(self._socket)

    async def _serve(self) -> None:
        loop, pauses = asyncio.get_running_loop(), iter(PAUSES_S)
        while True:
            opened_at_s = loop.time()
            try:
                await self._converse()
            except InvalidStatus as error:
                await self.push_error(_refusal(error), exception=error)
            except (WebSocketException, EgressError, OSError, msgspec.MsgspecError) as error:
                await self.push_error(f"Deepgram's socket failed: {error or type(error).__name__}", exception=error)
            self._settled.set()
            if loop.time() - opened_at_s >= STABLE_S:
                pauses = iter(PAUSES_S)
            pause_s = next(pauses, None)
            if not self.is_usable:
                return
            if pause_s is None:
                await self.push_error("Deepgram keeps failing and is given up", force_treat_as_permanent=True)
                return
            await asyncio.sleep(pause_s)

    async def _converse(self) -> None:
        """One socket, until it fails; Deepgram never closes one of its own accord while audio comes."""
        headers = {"Authorization": f"Token {self._line.key}"}

        async def opened(**known: Any) -> ClientConnection:
            return await connect(
                self._url,
                additional_headers=headers,
                max_size=LONGEST_MESSAGE,
                close_timeout=CLOSE_WITHIN_S / 2,
                **known,
            )

        socket = await self._line.open(self._url, opened)
        try:
            while self._backlog:  # more may come while it is sent
                audio = bytes(self._backlog)
                self._backlog.clear()
                await socket.send(audio)
            self._socket, self._is_due = socket, False
            self._settled.set()
            if self._is_unfinished:
                self._is_unfinished = False
                await self._finalize(socket)
            while True:
                await self._hear(await self._received(socket))
        finally:
            self._socket = None
            with suppress(WebSocketException, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S / 2):
                    await socket.send('{"type":"CloseStream"}')
            await socket.close()

    async def _received(self, socket: ClientConnection) -> str | bytes:
        """Deepgram's next message. Raises `TimeoutError` when one is due and does not come."""
        while True:
            try:
                async with asyncio.timeout(self._line.timeout_s if self._is_due else KEEP_ALIVE_S) as self._patience:
                    return await socket.recv()
            except TimeoutError:
                if self._is_due:
                    raise TimeoutError("it has stopped answering") from None
                await self._send(socket, '{"type":"KeepAlive"}')
            finally:
                self._patience = None

    async def _finalize(self, socket: ClientConnection) -> None:
        """Asks for the words that are missing.

        Deepgram reports on silence too, every second, so its own silence from here on means that it is stuck.
        """
        self.request_finalize()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._send(socket, '{"type":"Finalize"}')
        self._is_due = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._line.timeout_s)

    async def _hear(self, message: str | bytes) -> None:
        self._is_due = False
        known = msgspec.json.decode(message, type=_Message)
        if known.type == "Error":
            await self.push_error(f"Deepgram reports an error: {known.description}", category=ErrorCategory.SERVER)
        elif known.type == "Results":
            await self._transcribed(msgspec.json.decode(message, type=_Results))

    async def _transcribed(self, results: _Results) -> None:
        text = results.channel.alternatives[0].transcript if results.channel.alternatives else ""
        if results.is_final and results.from_finalize:
            self.confirm_finalize()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        if text and results.is_final:
            await self.emit_stt_usage_metrics()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
            await self.push_frame(TranscriptionFrame(text, self._user_id, time_now_iso8601()))
        elif text:
            await self.push_frame(InterimTranscriptionFrame(text, self._user_id, time_now_iso8601()))

    async def _send(self, socket: ClientConnection, message: str | bytes) -> None:
        """A peer that is gone is noticed by who listens to it; one that has stopped reading loses the socket."""
        with suppress(WebSocketException):
            try:
                async with asyncio.timeout(SEND_WITHIN_S):
                    await socket.send(message)
            except TimeoutError:
                socket.transport.abort()

    async def _leave(self) -> None:
        if self._serving is not None:
            serving, self._serving = self._serving, None
            await self.cancel_task(serving, timeout=2 * CLOSE_WITHIN_S)

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return lines.category(exception)


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


def _refusal(error: InvalidStatus) -> str:
    reason = error.response.headers.get("dg-error", "no reason given")
    return f"Deepgram refused the connection with {error.response.status_code}: {reason}"
