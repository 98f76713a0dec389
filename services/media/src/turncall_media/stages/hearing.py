"""Live transcription over a socket: what every vendor of it has in common."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.time import time_now_iso8601
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from turncall_egress import EgressError
from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import CLOSE_WITHIN_S, Line

KEEP_ALIVE_S: Final = 5.0
"""Deepgram closes a socket after 10 s without a message (its NET-0001), others later."""
SEND_WITHIN_S: Final = 2.0
STABLE_S: Final = 5.0
"""A socket that lived this long counts as one that worked."""
PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0)
"""Before each try to connect again; after the last one the vendor is given up."""
BACKLOG_S: Final = 5
"""Of the caller's speech kept while there is no socket: the newest."""
LONGEST_MESSAGE: Final = 1 << 20
Message = str | bytes


class SocketSTTService(STTService):
    """One socket after another for the length of the call. Our voice detector ends the turns, so the vendor's
    endpointing is off: each end of speech asks for what is still missing, and some word of the vendor is due within the
    timeout, unless the speech was shorter than ``WORDLESS_S``.
    """

    WORDLESS_S: ClassVar[float] = 0.0
    """For vendors that say nothing of a sound without words: up to here it may have been a cough."""
    GOODBYE: ClassVar[Message] = ""
    """Tells the vendor that the call is over, where closing the socket does not."""

    def __init__(
        self, ours: Line, context: BuildContext, *, path: str, headers: Mapping[str, str], model: str, ttfs_s: float
    ) -> None:
        """``path``, with its query, is where the line leads to. ``ttfs_s`` is how long final words take, at p99."""
        super().__init__(
            sample_rate=context.rate_hz,
            ttfs_p99_latency=ttfs_s,
            settings=STTSettings(model=model, language=None),
        )
        self._line = ours
        self._url = ours.base_url + path
        self._headers = headers
        self._bytes_per_s = 2 * context.rate_hz
        self._backlog = bytearray()
        self._socket: ClientConnection | None = None
        self._serving: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._patience: asyncio.Timeout | None = None
        self._spoken_bytes = 0  # since the voice began
        self._is_due = False
        self._is_unfinished = False
        self._has_worked = False

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
        self._spoken_bytes += len(audio)
        if self._socket is None:
            self._backlog += audio
            del self._backlog[: -self._bytes_per_s * BACKLOG_S]
        else:
            await self._send(self._socket, self._packed(audio))
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """At the end of speech asks for the words that are still missing."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._spoken_bytes = 0
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
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
                await self.push_error(self._refusal(error), exception=error)
            except (WebSocketException, EgressError, OSError, msgspec.MsgspecError) as error:
                await self.push_error(
                    f"{self._line.vendor}'s socket failed: {error or type(error).__name__}", exception=error
                )
            self._settled.set()
            if loop.time() - opened_at_s >= STABLE_S:
                pauses = iter(PAUSES_S)
            pause_s = next(pauses, None)
            if not self.is_usable:
                return
            if pause_s is None:
                await self.push_error(
                    f"{self._line.vendor} keeps failing and is given up", force_treat_as_permanent=True
                )
                return
            await asyncio.sleep(pause_s)

    async def _converse(self) -> None:
        """One socket, until it fails; vendors close none of their own accord while audio comes."""

        async def opened(**known: Any) -> ClientConnection:
            return await connect(
                self._url,
                additional_headers=self._headers,
                max_size=LONGEST_MESSAGE,
                close_timeout=CLOSE_WITHIN_S / 2,
                **known,
            )

        socket = await self._line.open(self._url, opened)
        try:
            while self._backlog:  # more may come while it is sent
                audio = bytes(self._backlog)
                self._backlog.clear()
                for message in self._packed(audio):
                    await socket.send(message)
            self._socket, self._is_due = socket, False
            self._settled.set()
            if self._is_unfinished:
                self._is_unfinished = False
                await self._finalize(socket)
            while self.is_usable:
                message = await self._received(socket)
                self._is_due = False
                await self._hear(message)
        finally:
            self._socket = None
            with suppress(WebSocketException, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S / 2):
                    if self.GOODBYE:
                        await socket.send(self.GOODBYE)
            await socket.close()

    async def _received(self, socket: ClientConnection) -> str | bytes:
        """The vendor's next message. Raises `TimeoutError` when one is due and does not come."""
        while True:
            try:
                async with asyncio.timeout(self._line.timeout_s if self._is_due else KEEP_ALIVE_S) as self._patience:
                    return await socket.recv()
            except TimeoutError:
                if self._is_due:
                    raise TimeoutError("it has stopped answering") from None
                await self._send(socket, self._keeping_alive())
            finally:
                self._patience = None

    async def _finalize(self, socket: ClientConnection) -> None:
        """Asks for the words that are missing; a vendor that is silent from here on is stuck."""
        self.request_finalize()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._send(socket, self._finalizing())
        self._is_due = self._spoken_bytes >= self.WORDLESS_S * self._bytes_per_s
        if self._is_due and self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._line.timeout_s)

    @abstractmethod
    async def _hear(self, message: Message) -> None:
        """What the vendor said: `_final`, `_partial`, or an error that is pushed."""

    @abstractmethod
    def _finalizing(self) -> list[Message]:
        """What asks the vendor for the words that are missing."""

    def _packed(self, audio: bytes) -> list[Message]:
        """The audio as the vendor takes it: as it is."""
        return [audio]

    def _keeping_alive(self) -> list[Message]:
        """What keeps an idle socket open: a little silence."""
        return self._packed(bytes(self._bytes_per_s // 10))

    def _refusal(self, error: InvalidStatus) -> str:
        """Why a socket was refused, as the vendor says it."""
        said = (error.response.body or b"").decode(errors="replace")[:200]
        return f"{self._line.vendor} refused the connection with {error.response.status_code}: {said}"

    async def _final(self, text: str, *, is_answer: bool) -> None:
        """Words that will not change. ``is_answer``: the last ones that were asked for."""
        self._has_worked = True
        if is_answer:
            self.confirm_finalize()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        if text:
            await self.emit_stt_usage_metrics()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
            await self.push_frame(TranscriptionFrame(text, self._user_id, time_now_iso8601()))

    async def _partial(self, text: str) -> None:
        """Words that may change."""
        self._has_worked = True
        if text:
            await self.push_frame(InterimTranscriptionFrame(text, self._user_id, time_now_iso8601()))

    async def _send(self, socket: ClientConnection, messages: Iterable[Message]) -> None:
        """A peer that is gone is noticed by who listens to it; one that has stopped reading loses the socket."""
        with suppress(WebSocketException):
            try:
                async with asyncio.timeout(SEND_WITHIN_S):
                    for message in messages:
                        await socket.send(message)
            except TimeoutError:
                socket.transport.abort()

    async def _leave(self) -> None:
        if self._serving is not None:
            serving, self._serving = self._serving, None
            await self.cancel_task(serving, timeout=2 * CLOSE_WITHIN_S)

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        """Who closes a socket because of a policy, before it has heard a word, would close the next one too."""
        if isinstance(exception, ConnectionClosed) and not self._has_worked and lines.is_refusal(exception):
            return ErrorCategory.INVALID_REQUEST
        return lines.category(exception)
