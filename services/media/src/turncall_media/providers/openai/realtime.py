"""One conversation over OpenAI's Realtime API: what is sent, what comes back, what is done when the session is lost.

A session knows the conversation by itself, and is lost with its socket: after an hour at the latest. A new one is told
what was said so far and does over what the old one left undone, once.
"""

import asyncio
import base64
import json
import re
from collections import deque
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    FunctionCallFromLLM,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.utils.errors import ErrorCategory
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from turncall_egress import EgressError
from turncall_media import lines, mulaw
from turncall_media.exchange import AnswerFrame, CallerTurn, CallerWordsFrame, HeardUntilFrame, SaidFrame, SayFrame
from turncall_media.kinds import BuildContext
from turncall_media.lines import CLOSE_WITHIN_S, Line
from turncall_media.providers.openai.items import Told, instructions
from turncall_media.resampling import Resampler
from turncall_runtime import logs

RATE_HZ: Final = 24_000
"""Of the API's bare PCM."""
LARGEST_MESSAGE: Final = 16 * 1024 * 1024
KEPT_REPLIES: Final = 8
"""Of which an interruption may still say how much was heard."""
_HARMLESS: Final = frozenset({"response_cancel_not_active", "item_truncate_invalid_item_id"})
"""Of what we asked for in the moment in which it became needless."""
_SENTENCE: Final = re.compile(r"(.+?[.!?…。！？]+)\s+", re.DOTALL)
_VERBATIM: Final = "Say exactly the following, word for word, in the language it is written in, and nothing else:\n"
_log = logs.logger(__name__)


class Lost(Exception):
    """The session is over. ``category``: why, as far as that says whether the next one has a chance."""

    def __init__(self, why: str, category: ErrorCategory | None = None) -> None:
        super().__init__(why)
        self.category = category


class Wish(Struct):
    """What is to be replied to. ``turn`` and ``pcm`` are the caller's, ``text`` is to be said as it stands."""

    turn: int | None = None
    pcm: bytes = b""
    text: str | None = None
    is_kept: bool = True
    is_answered: bool = True
    is_committed: bool = False  # the session has the turn's sound
    tries: int = 0


class Reply:
    """One response of the model."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.id = ""
        self.has_begun = False
        self.has_spoken = False
        self.is_over = False
        self.words = ""  # behind the last whole sentence
        self.items: list[tuple[str, int]] = []  # whose sound it has, and how many ms each
        self.resampler: Resampler | None = None


class RealtimeService(LLMService[Any]):
    """See `turncall_media.exchange` for what it is asked and what it owes."""

    def __init__(self, model: str, session: dict[str, Any], line: Line, context: BuildContext) -> None:
        super().__init__(settings=_settings(model))
        self._model = model
        self._configuration = session
        self._line = line
        self._rate_hz = context.rate_hz
        self._conversation = context.conversation or LLMContext()
        self._is_mulaw = session["audio"]["input"]["format"]["type"] == "audio/pcmu"
        self._up: Resampler | None = None
        self._turn = CallerTurn()
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._told = Told()
        self._tools: list[dict[str, Any]] = []
        self._wishes: deque[Wish] = deque()
        self._active: Reply | None = None
        self._created: deque[Reply] = deque()  # asked for, and not confirmed
        self._running: dict[str, Reply] = {}  # confirmed, and not done
        self._spoken: dict[str, Reply] = {}
        self._committed: deque[int] = deque()
        self._turns: dict[str, int] = {}  # by the item that holds their sound
        self._alarm: asyncio.TimerHandle | None = None
        self._connecting = asyncio.Lock()
        self._is_closing = False

    def can_generate_metrics(self) -> bool:
        """True: tokens."""
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat narrows it
        """Opens the session before the first word."""
        await super().setup(setup)
        with suppress(Lost):
            await self._ready()

    async def cleanup(self) -> None:
        """Closes the session with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """The caller's audio ends here; each request has its reply; everything else passes."""
        await super().process_frame(frame, direction)
        match frame:
            case InputAudioRawFrame():
                self._turn.hear(frame.audio)
                if self._turn.is_open:
                    await self._append(frame.audio)
            case AnswerFrame():
                await self._ask(Wish(turn=frame.turn, pcm=self._turn.end(), is_answered=frame.is_answered))
            case SayFrame():
                await self._ask(Wish(text=frame.text, is_kept=frame.is_kept))
            case LLMContextFrame():
                await self._ask(Wish())
            case HeardUntilFrame():
                await self._truncate(frame.reply_id, frame.heard_ms)
            case _:
                await self._heed(frame)
                await self.push_frame(frame, direction)

    async def _heed(self, frame: Frame) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                if not self._turn.is_open:
                    self._up = None if self._is_mulaw else Resampler(self._rate_hz, RATE_HZ)
                    await self._send({"type": "input_audio_buffer.clear"})
                    await self._append(self._turn.begin())
            case InterruptionFrame():
                await self._abandon()
            case CancelFrame() | EndFrame():
                await self._close()

    # What is asked for.

    async def _ask(self, wish: Wish) -> None:
        if wish.turn is not None:
            await self._commit(wish)
        if wish.is_answered:
            self._wishes.append(wish)
            await self._proceed()

    async def _commit(self, wish: Wish) -> None:
        """The turn's sound is complete."""
        if self._up is not None:
            await self._append(b"", is_last=True)
        assert wish.turn is not None
        if await self._send({"type": "input_audio_buffer.commit"}):
            wish.is_committed = True
            self._committed.append(wish.turn)

    async def _proceed(self) -> None:
        """Asks for the next reply, once the session is done with the last one."""
        if self._active is not None or self._created or self._running or not self._wishes:
            return
        wish = self._wishes.popleft()
        self._active = reply = Reply(wish)
        try:
            await self._ready()
        except Lost as lost:
            await self._fail(str(lost), lost.category)
            return
        if wish.turn is not None and not wish.is_committed:
            await self._append(wish.pcm)
            await self._commit(wish)
        if self._tools != self._offered():  # some are found late
            self._tools = self._offered()
            await self._send({"type": "session.update", "session": {"type": "realtime", "tools": self._tools}})
        for item in self._told.news(self._messages):
            await self._send({"type": "conversation.item.create", "item": item})
        if self._active is not reply:
            return
        self._created.append(reply)
        self._arm()
        await self._send({"type": "response.create", "response": _asked(wish)})

    async def _abandon(self) -> None:
        """The caller has the floor: nobody waits for what was asked."""
        self._wishes.clear()
        reply, self._active = self._active, None
        self._disarm()
        if reply is None:
            return
        await self._flush(reply)
        reply.is_over = True
        if reply.id in self._running:
            await self._send({"type": "response.cancel", "response_id": reply.id})

    async def _truncate(self, reply_id: str, heard_ms: int) -> None:
        """The session forgets what the caller did not hear."""
        reply = self._spoken.pop(reply_id, None)
        if reply is None or not reply.wish.is_kept:
            return
        for item_id, duration_ms in reply.items:
            if heard_ms < duration_ms:
                await self._send(
                    {
                        "type": "conversation.item.truncate",
                        "item_id": item_id,
                        "content_index": 0,
                        "audio_end_ms": max(0, heard_ms),
                    }
                )
            heard_ms -= duration_ms

    # What comes back.

    async def _read(self, socket: ClientConnection) -> None:
        why, category = "", None
        try:
            async for message in socket:
                await self._take(json.loads(message))
        except ConnectionClosed:
            why = "the connection broke off"
        except Lost as lost:
            why, category = str(lost), lost.category
        if socket is self._socket:
            self._socket = None
            await self._lost(why or "the session was closed", category)

    async def _take(self, event: dict[str, Any]) -> None:
        reply = self._reply_of(event)
        if reply is not None and reply is self._active:
            self._arm()
        match event["type"]:
            case "response.created":
                await self._confirmed(event["response"]["id"])
            case "response.output_audio.delta" if reply is not None:
                await self._sound(reply, event)
            case "response.output_audio_transcript.delta" if reply is not None:
                await self._words(reply, event["delta"])
            case "response.output_item.done" if reply is not None and event["item"]["type"] == "function_call":
                await self._call(reply, event["item"])
            case "response.done":
                await self._done(event["response"])
            case "input_audio_buffer.committed":
                if self._committed:
                    self._turns[event["item_id"]] = self._committed.popleft()
            case "conversation.item.input_audio_transcription.delta":
                await self._heard(event, event["delta"], is_final=False)
            case "conversation.item.input_audio_transcription.completed":
                await self._heard(event, event["transcript"].strip(), is_final=True)
            case "conversation.item.input_audio_transcription.failed":
                await self._heard(event, "", is_final=True)
            case "error":
                await self._complaint(event["error"])

    def _reply_of(self, event: dict[str, Any]) -> Reply | None:
        """Whose event this is; None also for one that nobody waits for."""
        reply = self._running.get(event.get("response_id", ""))
        return None if reply is None or reply.is_over else reply

    async def _confirmed(self, number: str) -> None:
        if not self._created:
            return
        reply = self._created.popleft()
        reply.id = number
        self._running[number] = reply
        if reply.is_over:
            await self._send({"type": "response.cancel", "response_id": number})

    async def _sound(self, reply: Reply, event: dict[str, Any]) -> None:
        await self._begin(reply)
        sound = base64.b64decode(event["delta"])
        if not reply.has_spoken:
            reply.has_spoken = True
            reply.resampler = None if self._is_mulaw else Resampler(RATE_HZ, self._rate_hz)
            self._spoken[reply.id] = reply
            if len(self._spoken) > KEPT_REPLIES:
                del self._spoken[next(iter(self._spoken))]
            await self.push_frame(TTSStartedFrame(context_id=reply.id, append_to_context=reply.wish.is_kept))
        duration_ms = len(sound) * 1000 // (8000 if self._is_mulaw else 2 * RATE_HZ)
        if reply.items and reply.items[-1][0] == event["item_id"]:
            duration_ms += reply.items.pop()[1]
        reply.items.append((event["item_id"], duration_ms))
        await self._play(reply, mulaw.decode(sound) if reply.resampler is None else reply.resampler.take(sound))

    async def _play(self, reply: Reply, pcm: bytes) -> None:
        if pcm:
            await self.push_frame(TTSAudioRawFrame(pcm, self._rate_hz, 1, context_id=reply.id))

    async def _words(self, reply: Reply, delta: str) -> None:
        await self._begin(reply)
        reply.words += delta
        while (whole := _SENTENCE.match(reply.words)) is not None:
            reply.words = reply.words[whole.end() :]
            await self.push_frame(SaidFrame(whole[1]))

    async def _flush(self, reply: Reply) -> None:
        words, reply.words = reply.words, ""
        if words.strip():
            await self.push_frame(SaidFrame(words))

    async def _call(self, reply: Reply, item: dict[str, Any]) -> None:
        await self._begin(reply)
        self._told.called(item["call_id"])
        try:
            arguments = json.loads(item["arguments"] or "{}")
        except ValueError:
            arguments = None
        call = FunctionCallFromLLM(
            function_name=item["name"],
            tool_call_id=item["call_id"],
            arguments=arguments if isinstance(arguments, dict) else {},
            context=self._conversation,
        )
        await self.run_function_calls([call])

    async def _done(self, response: dict[str, Any]) -> None:
        reply = self._running.pop(response["id"], None)
        await self.start_llm_usage_metrics(_usage(response.get("usage") or {}))
        if reply is not None and reply is self._active:
            if response["status"] == "failed":
                error = (response.get("status_details") or {}).get("error") or {}
                await self._fail(str(error.get("message") or error.get("code") or "the response failed"), None)
                return
            await self._finish(reply)
        await self._proceed()

    async def _begin(self, reply: Reply) -> None:
        if not reply.has_begun:
            reply.has_begun = True
            await self.push_frame(LLMFullResponseStartFrame())

    async def _finish(self, reply: Reply) -> None:
        self._active = None
        reply.is_over = True
        self._disarm()
        await self._begin(reply)
        await self._flush(reply)
        if reply.has_spoken:
            if reply.resampler is not None:
                await self._play(reply, reply.resampler.end())
            await self.push_frame(TTSStoppedFrame(context_id=reply.id))
        await self.push_frame(LLMFullResponseEndFrame())

    async def _heard(self, event: dict[str, Any], text: str, *, is_final: bool) -> None:
        turn = self._turns.pop(event["item_id"], None) if is_final else self._turns.get(event["item_id"])
        if turn is not None:
            await self.push_frame(CallerWordsFrame(turn, text, is_final=is_final))

    async def _complaint(self, error: dict[str, Any]) -> None:
        code, message = error.get("code"), str(error.get("message"))
        if code == "session_expired":
            raise Lost(message)
        if code in _HARMLESS:
            _log.info("speech.needless", vendor=self._line.vendor, code=code)
            return
        await self._fail(message, ErrorCategory.INVALID_REQUEST if self._active is None else None)

    # The session.

    @property
    def _messages(self) -> list[Any]:
        return self._conversation.get_messages()

    async def _ready(self) -> None:
        """Opens a session that knows what was said, if there is none. Raises `Lost`, which is told already."""
        async with self._connecting:
            if self._socket is not None or self._is_closing:
                return
            try:
                self._socket = await self._opened()
            except Lost as lost:
                await self.push_error(str(lost), category=lost.category)
                raise
            self._reading = self.create_task(self._read(self._socket), "read")

    async def _opened(self) -> ClientConnection:
        url = f"{self._line.base_url}/realtime?model={self._model}"
        headers = {"Authorization": f"Bearer {self._line.key}"}
        try:
            async with asyncio.timeout(self._line.timeout_s):
                socket = await self._line.open(
                    url,
                    lambda **known: connect(
                        url,
                        additional_headers=headers,
                        max_size=LARGEST_MESSAGE,
                        close_timeout=CLOSE_WITHIN_S,
                        **known,
                    ),
                )
        except (OSError, TimeoutError, WebSocketException, EgressError) as error:
            raise Lost(f"no session: {error or 'no answer'}", _category(error)) from error
        try:
            async with asyncio.timeout(self._line.timeout_s):
                await self._introduce(socket)
        except (ConnectionClosed, TimeoutError) as error:
            socket.transport.abort()
            raise Lost("the session was not confirmed") from error
        return socket

    async def _introduce(self, socket: ClientConnection) -> None:
        """Instructions, tools and the past, in that order."""
        self._tools = self._offered()
        session = self._configuration | {
            "instructions": instructions(self._messages),
            "tools": self._tools,
            "tool_choice": "auto",
        }
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "session.updated":
                break
            if event["type"] == "error":
                raise Lost(str(event["error"].get("message")), ErrorCategory.INVALID_REQUEST)
        self._told = Told()
        for item in self._told.news(self._messages):
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))

    def _offered(self) -> list[dict[str, Any]]:
        tools = self._conversation.tools
        standard = tools.standard_tools if isinstance(tools, ToolsSchema) else []
        return [{"type": "function", **tool.to_default_dict()} for tool in standard]

    async def _lost(self, why: str, category: ErrorCategory | None) -> None:
        """A new session does over what nobody has heard of yet; what was half said is a failure."""
        reply = self._active
        self._created.clear()
        self._running.clear()
        self._committed.clear()
        self._turns.clear()
        for wish in self._wishes:
            wish.is_committed = False
        if self._is_closing:
            return
        if reply is not None and (reply.has_begun or reply.wish.tries):
            await self._fail(why, category)
            return
        _log.info("speech.session_lost", vendor=self._line.vendor, why=why)
        self._active = None
        self._disarm()
        if reply is not None:
            reply.wish.tries += 1
            reply.wish.is_committed = False
            self._wishes.appendleft(reply.wish)
        if self._turn.is_open and not self._wishes:
            with suppress(Lost):
                await self._ready()
            await self._append(self._turn.sound)
        elif self._wishes:
            await self._proceed()
        else:
            with suppress(Lost):
                await self._ready()

    async def _fail(self, why: str, category: ErrorCategory | None) -> None:
        """The reply that is waited for will not come."""
        reply, self._active = self._active, None
        self._disarm()
        if reply is not None:
            reply.is_over = True
        await self.push_error(why, category=category)

    async def _append(self, pcm: bytes, *, is_last: bool = False) -> None:
        if self._is_mulaw:
            sound = mulaw.encode(pcm)
        else:
            self._up = self._up or Resampler(self._rate_hz, RATE_HZ)
            sound = self._up.take(pcm)
            if is_last:
                sound += self._up.end()
                self._up = None
        if sound:
            await self._send({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()})

    async def _send(self, event: dict[str, Any]) -> bool:
        """Whether there was a session to send it to; whoever reads the socket notices when it breaks."""
        if self._socket is None:
            return False
        try:
            await self._socket.send(json.dumps(event))
        except ConnectionClosed:
            return False
        return True

    async def _close(self) -> None:
        self._is_closing = True
        self._disarm()
        socket, self._socket = self._socket, None
        reading, self._reading = self._reading, None
        if reading is not None:
            await self.cancel_task(reading)
        if socket is not None:
            await socket.close()

    def _arm(self) -> None:
        self._disarm()
        self._alarm = asyncio.get_running_loop().call_later(self._line.timeout_s, self._silent)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _silent(self) -> None:
        """A session that says nothing when something is due is stuck: the next request gets a new one."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()
        self._created.clear()
        self._running.clear()
        self.create_task(self._fail(f"no sign of the model within {self._line.timeout_s:g} s", None), "silent")


def _settings(model: str) -> LLMSettings:
    return LLMSettings(
        model=model,
        system_instruction=None,
        temperature=None,
        max_tokens=None,
        top_p=None,
        top_k=None,
        frequency_penalty=None,
        presence_penalty=None,
        seed=None,
        filter_incomplete_user_turns=False,
        user_turn_completion_config=None,
    )


def _asked(wish: Wish) -> dict[str, Any]:
    """What a response is to be. A line is made apart from what was said, so that nothing leads away from its words."""
    if wish.text is None:
        return {}
    return {
        "instructions": _VERBATIM + wish.text,
        "input": [],
        "tool_choice": "none",
        "conversation": "auto" if wish.is_kept else "none",
    }


def _usage(usage: dict[str, Any]) -> LLMTokenUsage:
    read, said = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return LLMTokenUsage(
        prompt_tokens=usage.get("input_tokens") or 0,
        completion_tokens=usage.get("output_tokens") or 0,
        total_tokens=usage.get("total_tokens") or 0,
        cache_read_input_tokens=read.get("cached_tokens"),
        input_audio_tokens=read.get("audio_tokens"),
        output_audio_tokens=said.get("audio_tokens"),
    )


def _category(error: Exception) -> ErrorCategory | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ErrorCategory.AUTHENTICATION
    if status is not None and 400 <= status < 500:
        return ErrorCategory.INVALID_REQUEST
    return lines.category(error) or ErrorCategory.CONNECTIVITY
