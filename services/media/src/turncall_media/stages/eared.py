"""Models that hear and speak and find the ends of turns themselves, when nothing can stop them from answering.

They hear the caller during our turns only, and silence otherwise; an answer that is there before our turn is over is
kept until then, and dropped if the caller goes on; and the silence that they wait for is sent at once when our turn
ends.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema

from turncall_media.stages.conversing import ConversingService
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.replying import Reply, Wish
from turncall_media.stages.told import Answered, News, Told

UNHEARD_S: Final = 3.0
"""Without words and without an answer for so long, the vendor heard nobody in a turn."""
STILL_AT_WORK: Final = "This takes a while. The answer will follow; go on meanwhile."
NOT_DONE: Final = "This was not done. Use it again, alone, if it is still needed."


class EaredService(ConversingService):
    """See the module. ``_is_dropping``: what is coming belongs to nobody."""

    CLOSING_MS: ClassVar[int]
    """Silence that is sent behind a turn: longer than the vendor waits for more."""

    def __init__(self, model: str, line: Line, context: BuildContext) -> None:
        super().__init__(model, line, context)
        self._bytes_per_ms = 2 * context.rate_hz // 1000
        self._ahead_bytes = 0  # sent before its time, and not to be sent again
        self._told = Told()
        self._tools: list[FunctionSchema] = []
        self._has_thought = False  # since the last request
        self._is_dropping = False
        self._early: list[Any] = []  # of an answer, before our turn is over
        self._due: list[int] = []  # turns whose words are due
        self._unheard: asyncio.TimerHandle | None = None

    # What a vendor says.

    @abstractmethod
    async def _sound_out(self, pcm: bytes) -> bool:
        """Sends what is to be heard. Whether there was a session to send it to."""

    @abstractmethod
    async def _tell_answer(self, answer: Answered) -> None:
        """A tool's answer, for a model that waits for it."""

    @abstractmethod
    async def _tell_text(self, text: str, *, is_asked: bool) -> None:
        """Something for the model to know; ``is_asked``: it is to answer."""

    @abstractmethod
    async def _tell_line(self, line: str) -> None:
        """A line to say word for word."""

    @abstractmethod
    def _put(self, news: News) -> str:
        """News in words, of the caller's side; what is not the caller's is marked."""

    @abstractmethod
    async def _answer(self, message: Any) -> None:
        """A piece of what the model does, of its reply or of nobody's."""

    @abstractmethod
    def _is_at_work(self) -> bool:
        """Whether an answer has begun to come and has not ended."""

    GO_ON: ClassVar[str]
    """Asks for a reply when there is nothing new."""

    # What is sent.

    async def _listen(self, pcm: bytes) -> None:
        if self._turn.is_open:
            await self._append(pcm)
            return
        credit = min(self._ahead_bytes, len(pcm))
        self._ahead_bytes -= credit
        await self._sound_out(bytes(len(pcm) - credit))

    def _resume_turn(self) -> None:
        self._early.clear()

    async def _begin_turn(self, pcm: bytes) -> None:
        self._early.clear()
        self._ahead_bytes += len(pcm)
        await self._append(pcm)

    async def _append(self, pcm: bytes) -> None:
        if pcm:
            await self._sound_out(pcm)

    async def _commit(self, wish: Wish) -> bool:
        """A turn that is not to be answered will be, in this session, which is given up for it."""
        silence = bytes(self.CLOSING_MS * self._bytes_per_ms)
        self._ahead_bytes += len(silence)
        is_sent = await self._sound_out(silence)
        if is_sent and wish.turn is not None:
            self._due.append(wish.turn)
            if not wish.is_answered:
                self._is_dropping, self._is_outdated = True, True
        return is_sent

    async def _request(self, reply: Reply) -> None:
        self._has_thought = False
        wish = reply.wish
        news = self._told.news(self._messages)
        answers = [one for one in news if isinstance(one, Answered) and not self._function_is_async(one.name)]
        for answer in answers:
            await self._tell_answer(answer)
        told = [self._put(one) for one in news if one not in answers]
        is_asked = wish.turn is None and wish.text is None and not answers
        for text in told[:-1] if is_asked else told:
            await self._tell_text(text, is_asked=False)
        if wish.text is not None:
            await self._tell_line(wish.text)
        elif is_asked:
            await self._tell_text(told[-1] if told else self.GO_ON, is_asked=True)
        elif wish.turn is not None:
            patience_s = min(UNHEARD_S, self._line.timeout_s / 2)
            self._unheard = asyncio.get_running_loop().call_later(patience_s, self._nobody_spoke, reply)
            early, self._early = self._early, []
            for message in early:
                await self._answer(message)

    def _nobody_spoke(self, reply: Reply) -> None:
        is_unheard = reply.wish.turn in self._due and not self._has_thought
        if reply is self._active and not reply.has_begun and is_unheard:
            self.create_task(self._finish_without_words(reply), "unheard")

    async def _finish_without_words(self, reply: Reply) -> None:
        assert reply.wish.turn is not None
        self._due.remove(reply.wish.turn)
        await self._heard(reply.wish.turn, "", is_final=True)
        await self._finish(reply)
        await self._proceed()

    async def _give_up(self, reply: Reply) -> None:
        self._is_dropping = self._is_at_work()

    # What comes back.

    async def _come(self, message: Any) -> None:
        """A piece of an answer: now, or when our turn is over."""
        if self._active is None and self._turn.is_open:
            self._early.append(message)
        else:
            await self._answer(message)

    async def _words_are(self, text: str) -> None:
        """All of the caller's words in the oldest turn whose words are due."""
        if self._due:
            await self._heard(self._due.pop(0), text.strip(), is_final=True)
            if self._is_outdated:
                await self._proceed()

    def _interrupted(self) -> None:
        """The vendor has heard the caller and stopped by itself."""
        self._is_dropping = False
        self._early.clear()

    async def _whole(self) -> None:
        """The model has said all that it had to say."""
        was_dropping, self._is_dropping = self._is_dropping, False
        reply = self._active
        if reply is not None and not was_dropping and (reply.has_begun or self._has_thought):
            await self._finish(reply)
            await self._proceed()

    async def _called(self, reply: Reply | None, call_id: str, name: str, arguments: Any) -> None:
        """The vendor waits for the answer. Of a tool that goes on by itself it gets one at once that says so, and of
        one that nobody waits for any more, one that says that."""
        self._told.called(call_id, name)
        if reply is None:
            self._told.forgotten(call_id)
            await self._tell_answer(Answered(call_id, name, NOT_DONE))
            return
        await self._call(reply, (call_id, name, arguments))
        if self._function_is_async(name):
            await self._tell_answer(Answered(call_id, name, STILL_AT_WORK))
        elif reply is self._active:
            await self._finish(reply)
            await self._proceed()

    # The session.

    def _past(self) -> Sequence[News]:
        """What a new session is told of what was said, with the tools that are offered as it begins."""
        self._tools, self._told = self._tools_offered, Told()
        return self._told.news(self._messages)

    def _is_stale(self) -> bool:
        return (super()._is_stale() and not self._due) or self._tools != self._tools_offered

    def _forget(self) -> None:
        self._ahead_bytes = 0
        self._is_dropping = False
        self._early.clear()
        self._due.clear()
        if self._unheard is not None:
            self._unheard.cancel()
            self._unheard = None
