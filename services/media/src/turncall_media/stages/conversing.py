"""Models that hear and speak over a session of their vendor: what every one of them has in common.

A session knows the conversation by itself, and is lost with its connection. A new one is told what was said so far and
does over what the old one left undone, once. `stages.exchange` says what such a service is asked and owes.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from contextlib import suppress
from typing import Any, Final

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    FunctionCallFromLLM,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.llm_service import LLMService
from pipecat.utils.errors import ErrorCategory
from websockets.exceptions import ConnectionClosed

from turncall_media.audio.sound import Sound
from turncall_media.stages.channels import Channel, Gone, Lost
from turncall_media.stages.exchange import AnswerFrame, CallerTurn, CallerWordsFrame, HeardUntilFrame, SayFrame
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.replying import Reply, Wish
from turncall_media.stages.settings import name_alone
from turncall_runtime import logs

KEPT_REPLIES: Final = 8
"""Of which an interruption may still say how much was heard."""
STABLE_S: Final = 5.0
"""A session that lived this long counts as one that worked."""
YOUNG_DEATHS: Final = 3
"""Sessions lost in a row before they worked; from then on none is opened before it is needed."""
VERBATIM: Final = "Say exactly the following, word for word, in the language it is written in, and nothing else:\n"
_log = logs.logger(__name__)


class ConversingService(LLMService[Any]):
    """A vendor says how its sessions are opened, what is sent for each wish, and what its events mean. One reply is
    waited for at a time; ``_active`` is the one."""

    def __init__(self, model: str, line: Line, context: BuildContext) -> None:
        super().__init__(settings=name_alone(model))
        self._line = line
        self._rate_hz = context.rate_hz
        self._conversation = context.conversation or LLMContext()
        self._turn = CallerTurn(Sound(context.rate_hz))
        self._socket: Channel | None = None
        self._opened_at_s = 0.0
        self._young_deaths = 0
        self._is_outdated = False
        self._wishes: deque[Wish] = deque()
        self._active: Reply | None = None
        self._spoken: dict[str, Reply] = {}
        self._reading: asyncio.Task[None] | None = None
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
                await self._listen(frame.audio)
            case AnswerFrame():
                await self._ask(Wish(turn=frame.turn, pcm=self._turn.end(), is_answered=frame.is_answered))
            case SayFrame():
                await self._ask(Wish(text=frame.text, is_kept=frame.is_kept))
            case LLMContextFrame():
                await self._ask(Wish())
            case HeardUntilFrame():
                reply = self._spoken.pop(frame.reply_id, None)
                if reply is not None and reply.wish.is_kept:
                    await self._cut(reply, frame.heard_ms)
            case _:
                await self._heed(frame)
                await self.push_frame(frame, direction)

    async def _heed(self, frame: Frame) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                if self._turn.is_open:
                    self._resume_turn()
                else:
                    await self._begin_turn(self._turn.begin())
            case InterruptionFrame():
                await self._abandon()
            case CancelFrame() | EndFrame():
                await self._close()

    # What a vendor says.

    @abstractmethod
    async def _opened(self) -> Channel:
        """A session that knows what was said. Raises `Lost`."""

    @abstractmethod
    async def _begin_turn(self, pcm: bytes) -> None:
        """The caller has begun to speak; ``pcm`` is the beginning."""

    @abstractmethod
    async def _append(self, pcm: bytes) -> None:
        """More of the caller's turn."""

    @abstractmethod
    async def _commit(self, wish: Wish) -> bool:
        """The caller's turn is complete. Whether the session has its sound."""

    @abstractmethod
    async def _request(self, reply: Reply) -> None:
        """Asks for a reply; the sound of a turn is there, what else is new in the conversation is not."""

    @abstractmethod
    async def _take(self, message: str | bytes) -> None:
        """What came of the session. Raises `Lost` when it says that it is over."""

    @abstractmethod
    def _forget(self) -> None:
        """The session is gone, and what was known of it."""

    def _resume_turn(self) -> None:
        """The caller goes on after a pause in the turn."""

    async def _give_up(self, reply: Reply) -> None:
        """Nobody waits for the reply any more."""

    async def _cut(self, reply: Reply, heard_ms: int) -> None:
        """So much of a reply that is over was heard."""

    def _is_stale(self) -> bool:
        """Whether the session is to be replaced as soon as nobody needs it."""
        return self._is_outdated

    def _is_busy(self) -> bool:
        """Whether the session has to finish something before it can be asked."""
        return False

    # What is asked for.

    async def _listen(self, pcm: bytes) -> None:
        if self._turn.is_open:
            await self._append(pcm)

    async def _ask(self, wish: Wish) -> None:
        if wish.turn is not None:
            wish.is_committed = await self._commit(wish)
        if wish.is_answered:
            self._wishes.append(wish)
            await self._proceed()

    async def _proceed(self) -> None:
        """Asks for the next reply, once the session is done with the last one."""
        if self._active is not None or self._is_busy():
            return
        if self._socket is not None and self._is_stale() and not self._turn.is_open:
            await self._renew()
        if not self._wishes:
            return
        wish = self._wishes.popleft()
        self._active = reply = Reply(wish, self.push_frame, self._rate_hz)
        try:
            await self._ready()
        except Lost as lost:
            await self._fail(str(lost), lost.category)
            return
        if wish.turn is not None and not wish.is_committed:
            await self._begin_turn(wish.pcm)
            wish.is_committed = await self._commit(wish)
        if self._active is reply:
            self._arm()
            await self._request(reply)

    async def _abandon(self) -> None:
        """The caller has the floor: nobody waits for what was asked."""
        self._wishes.clear()
        reply, self._active = self._active, None
        self._disarm()
        if reply is not None:
            await reply.abandon()
            await self._give_up(reply)

    # What comes back.

    async def _read(self, socket: Channel) -> None:
        why, category = "", None
        try:
            async for message in socket:
                await self._take(message)
        except (ConnectionClosed, Gone) as error:
            why, category = f"the connection broke off: {error}", getattr(error, "category", None)
        except Lost as lost:
            why, category = str(lost), lost.category
        if socket is self._socket:
            self._socket = None
            await self._lost(why or "the session was closed", category)

    async def _sound(self, reply: Reply, pcm: bytes, rate_hz: int) -> None:
        """The next sound of a reply, at the vendor's rate."""
        if not reply.has_spoken:
            self._spoken[reply.id] = reply
            if len(self._spoken) > KEPT_REPLIES:
                del self._spoken[next(iter(self._spoken))]
        await reply.sound(pcm, rate_hz)

    async def _call(self, reply: Reply, *calls: tuple[str, str, Any]) -> None:
        """The model uses tools, all at once: for each the call's id, the tool's name, and the arguments."""
        await reply.begin()
        made = [
            FunctionCallFromLLM(
                function_name=name,
                tool_call_id=call_id,
                arguments=arguments if isinstance(arguments, dict) else {},
                context=self._conversation,
            )
            for call_id, name, arguments in calls
        ]
        await self.run_function_calls(made)

    async def _finish(self, reply: Reply) -> None:
        """The reply that was waited for is whole."""
        self._active = None
        self._young_deaths = 0
        self._disarm()
        await reply.end()

    async def _heard(self, turn: int | None, text: str, *, is_final: bool) -> None:
        """The caller's words in a turn; None for one that is no longer known."""
        if turn is not None:
            await self.push_frame(CallerWordsFrame(turn, text, is_final=is_final))

    # The session.

    @property
    def _messages(self) -> list[Any]:
        return self._conversation.get_messages()

    @property
    def _tools_offered(self) -> list[FunctionSchema]:
        tools = self._conversation.tools
        return list(tools.standard_tools) if isinstance(tools, ToolsSchema) else []

    async def _ready(self) -> None:
        """Opens a session that knows what was said, if there is none. Raises `Lost`, which is told already."""
        async with self._connecting:
            if self._socket is not None or self._is_closing:
                return
            self._is_outdated = False
            try:
                self._socket = await self._opened()
            except Lost as lost:
                await self.push_error(str(lost), category=lost.category)
                raise
            self._opened_at_s = asyncio.get_running_loop().time()
            self._reading = self.create_task(self._read(self._socket), "read")

    async def _renew(self) -> None:
        """Another session in the place of this one, while nobody speaks."""
        socket, self._socket = self._socket, None
        self._forget()
        for wish in self._wishes:
            wish.is_committed = False
        if socket is not None:
            self.create_task(socket.close(), "close")
        with suppress(Lost):
            await self._ready()

    async def _lost(self, why: str, category: ErrorCategory | None) -> None:
        """A new session does over what nobody has heard of yet; what was half said is a failure."""
        reply = self._active
        self._forget()
        for wish in self._wishes:
            wish.is_committed = False
        if self._is_closing:
            return
        is_final = category is not None and category.is_permanent
        if is_final or (reply is not None and (reply.has_begun or reply.wish.tries)):
            await self._fail(why, category)
            return
        lived_s = asyncio.get_running_loop().time() - self._opened_at_s
        self._young_deaths = self._young_deaths + 1 if lived_s < STABLE_S else 0
        _log.info("speech.session_lost", vendor=self._line.vendor, why=why)
        self._active = None
        self._disarm()
        if reply is not None:
            reply.wish.tries += 1
            reply.wish.is_committed = False
            self._wishes.appendleft(reply.wish)
        if self._wishes:
            await self._proceed()
        elif self._young_deaths < YOUNG_DEATHS:
            with suppress(Lost):
                await self._ready()
                if self._turn.is_open:
                    await self._begin_turn(self._turn.sound)

    async def _fail(self, why: str, category: ErrorCategory | None) -> None:
        """The reply that is waited for will not come."""
        reply, self._active = self._active, None
        self._disarm()
        if reply is not None:
            reply.is_over = True
        await self.push_error(why, category=category)

    async def _send(self, message: str | bytes) -> bool:
        """Whether there was a session to send it to; whoever reads the socket notices when it breaks."""
        if self._socket is None:
            return False
        try:
            await self._socket.send(message)
        except (ConnectionClosed, Gone):
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
        """From here on some sign of the model is due within the timeout."""
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
        self._forget()
        self.create_task(self._fail(f"no sign of the model within {self._line.timeout_s:g} s", None), "silent")
