"""One conversation over Gemini's Live API: what is sent, what comes back, and whose it is.

Turns are marked by us (``activityStart``, ``activityEnd``), and every request is answered by one turn of the model,
which ends with ``turnComplete``, also when it was interrupted. Whatever comes belongs to the oldest turn that has not
ended. A session cannot be changed and cannot forget: where it knows too little or too much, another one takes over.
"""

import asyncio
import base64
import json
from collections import deque
from typing import Any, Final

from msgspec import Struct
from pipecat.metrics.metrics import LLMTokenUsage
from websockets.asyncio.client import ClientConnection

from turncall_media.stages.channels import Channel, Lost, connected, introduced
from turncall_media.stages.conversing import VERBATIM, ConversingService
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.replying import Reply, Wish
from turncall_media.stages.told import Answered, Called, News, Said, Told, instructions, text_of

PATH: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
GO_ON: Final = " "
"""The model begins with realtime input alone, if only of this."""
WORDS_WITHIN_S: Final = 1.5
BETWEEN_WORDS_S: Final = 0.6
"""How long the caller's words are waited for behind the answer, and when no more of them will come: nothing says which
are the last ones."""


class Heard(Struct):
    """The words of a caller's turn, as far as they are known. ``is_answered``: the session had to answer it."""

    turn: int
    text: str
    is_answered: bool


class LiveService(ConversingService):
    """See the module."""

    def __init__(self, model: str, generation: dict[str, Any], line: Line, context: BuildContext) -> None:
        super().__init__(model, line, context)
        self._model = model
        self._generation = generation
        self._mime = f"audio/pcm;rate={context.rate_hz}"
        self._told = Told()
        self._tools: list[dict[str, Any]] = []
        self._turns: deque[Reply] = deque()  # of the model, which have not ended
        self._paused: Reply | None = None  # its turn goes on when tools have answered
        self._is_hearing = False  # between activityStart and activityEnd
        self._early_words = ""  # of the turn that the caller is in
        self._heard_in: Heard | None = None  # the turn whose words are due
        self._words_due: asyncio.TimerHandle | None = None
        self._cut_ms: int | None = None  # what was heard of the last reply, if not all

    # What is sent.

    async def _begin_turn(self, pcm: bytes) -> None:
        await self._words_are_whole()
        self._early_words = ""
        self._is_hearing = await self._tell("realtimeInput", activityStart={})
        await self._append(pcm)

    async def _append(self, pcm: bytes) -> None:
        if pcm:
            sound = {"data": base64.b64encode(pcm).decode(), "mimeType": self._mime}
            await self._tell("realtimeInput", audio=sound)

    async def _commit(self, wish: Wish) -> bool:
        """The end of a turn is the request for its answer, so it waits for its time; an answer that nobody wants is
        left in this session, which is given up."""
        if not self._is_hearing or wish.turn is None:
            return False
        self._heard_in, self._early_words = Heard(wish.turn, self._early_words, wish.is_answered), ""
        if not wish.is_answered:
            await self._end_activity(Reply(wish, self.push_frame, self._rate_hz))
            self._turns[-1].is_over = True
            self._wait_for_words()
        return True

    async def _request(self, reply: Reply) -> None:
        news = self._told.news(self._messages)
        if self._cut_ms is not None:
            news.insert(0, self._what_was_heard(self._cut_ms))
            self._cut_ms = None
        answers = [one for one in news if isinstance(one, Answered)]
        said = [one for one in news if not isinstance(one, Answered)]
        if answers:
            await self._tell("toolResponse", functionResponses=[self._answer(one) for one in answers])
        if said:
            await self._tell("clientContent", turns=[content(one) for one in said], turnComplete=False)
        if self._active is not reply:
            return
        if reply.wish.turn is not None:
            await self._end_activity(reply)
        elif answers and not said and reply.wish.text is None:
            self._go_on(reply)
        else:
            self._turns.append(reply)
            text = GO_ON if reply.wish.text is None else VERBATIM + reply.wish.text
            await self._tell("realtimeInput", text=text)

    def _go_on(self, reply: Reply) -> None:
        """Answers of tools need no request; the turn that waited for them goes on."""
        if self._turns and self._turns[0] is self._paused:
            self._turns[0] = reply
        else:
            self._turns.append(reply)

    async def _end_activity(self, reply: Reply) -> None:
        self._turns.append(reply)
        self._is_hearing = False
        await self._tell("realtimeInput", activityEnd={})

    async def _cut(self, reply: Reply, heard_ms: int) -> None:
        """The session keeps all of a reply that it has sent, so it is told how much of it was heard."""
        if heard_ms < sum(duration_ms for _, duration_ms in reply.parts):
            self._cut_ms = heard_ms

    def _what_was_heard(self, heard_ms: int) -> Said:
        spoken = [text_of(message) for message in self._messages if message.get("role") == "assistant"]
        words = next((text for text in reversed(spoken) if text), "") if heard_ms > 0 else ""
        heard = f"heard only this of your last reply: {words}" if words else "did not hear your last reply"
        return Said("system", f"The caller interrupted you, and {heard}")

    def _answer(self, news: Answered) -> dict[str, Any]:
        answer = {"id": news.call_id, "name": news.name, "response": {"output": news.answer}}
        return answer | {"scheduling": "WHEN_IDLE"} if self._function_is_async(news.name) else answer

    # What comes back.

    async def _take(self, message: str | bytes) -> None:
        event = json.loads(message)
        reply = self._turns[0] if self._turns else None
        if reply is not None and reply is self._active:
            self._arm()
        said = event.get("serverContent") or {}
        if words := said.get("inputTranscription"):
            await self._hear(words)
        if reply is not None and not reply.is_over:
            await self._speak(reply, said)
        if call := event.get("toolCall"):
            await self._called(reply, call["functionCalls"])
        for call_id in (event.get("toolCallCancellation") or {}).get("ids", ()):
            self._told.forgotten(call_id)
        if usage := event.get("usageMetadata"):
            await self.start_llm_usage_metrics(_usage(usage))
        if reply is not None and (said.get("generationComplete") or said.get("turnComplete")):
            await self._ended(reply, is_turn=bool(said.get("turnComplete")))
        if "goAway" in event:
            self._is_outdated = True
            await self._proceed()

    async def _speak(self, reply: Reply, said: dict[str, Any]) -> None:
        for part in (said.get("modelTurn") or {}).get("parts", ()):
            if sound := part.get("inlineData"):
                pcm, rate_hz = base64.b64decode(sound["data"]), int(sound["mimeType"].rpartition("=")[2])
                reply.parts.append((reply.id, len(pcm) * 1000 // (2 * rate_hz)))
                await self._sound(reply, pcm, rate_hz)
        if words := (said.get("outputTranscription") or {}).get("text"):
            await reply.words(words)

    async def _called(self, reply: Reply | None, calls: list[dict[str, Any]]) -> None:
        """The model waits for answers, and its reply is over, unless it can talk on without them."""
        for call in calls:
            self._told.called(call["id"], call["name"])
        if reply is None or reply.is_over:
            return
        await self._call(reply, *((call["id"], call["name"], call.get("args") or {}) for call in calls))
        if reply is self._active and not all(self._function_is_async(call["name"]) for call in calls):
            self._paused = reply
            await self._finish(reply)
            await self._proceed()

    async def _ended(self, reply: Reply, *, is_turn: bool) -> None:
        """All of a reply was sent; its turn lasts as long as it takes to hear it."""
        if is_turn:
            self._turns.popleft()
        if self._heard_in is not None and self._heard_in.turn == reply.wish.turn:
            self._wait_for_words()
        if reply is self._active:
            await self._finish(reply)
        await self._proceed()

    async def _hear(self, words: dict[str, Any]) -> None:
        text = words.get("text") or ""
        if self._heard_in is None:
            self._early_words += text
            return
        self._heard_in.text += text
        await self._heard(self._heard_in.turn, self._heard_in.text.strip(), is_final=False)
        if words.get("finished"):
            await self._words_are_whole()
        elif self._words_due is not None:
            self._wait_for_words()

    def _wait_for_words(self) -> None:
        if self._words_due is not None:
            self._words_due.cancel()
        self._words_due = asyncio.get_running_loop().call_later(
            BETWEEN_WORDS_S if self._heard_in is not None and self._heard_in.text else WORDS_WITHIN_S,
            lambda: self.create_task(self._words_are_whole(), "words"),
        )

    async def _words_are_whole(self) -> None:
        heard, self._heard_in = self._heard_in, None
        if self._words_due is not None:
            self._words_due.cancel()
            self._words_due = None
        if heard is None:
            return
        await self._heard(heard.turn, heard.text.strip(), is_final=True)
        if not heard.is_answered:  # the session believes that it was
            self._is_outdated = True
            await self._proceed()

    # The session.

    async def _opened(self) -> Channel:
        url = self._line.base_url + PATH
        socket = await connected(self._line, url, {"x-goog-api-key": self._line.key})
        await introduced(self._line, socket, self._introduce)
        return socket

    async def _introduce(self, socket: ClientConnection) -> None:
        """Instructions and tools, then the past."""
        self._tools, self._told = self._offered(), Told()
        history = [content(news) for news in self._told.news(self._messages)]
        setup: dict[str, Any] = {
            "model": f"models/{self._model}",
            "generationConfig": self._generation,
            "realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}},
            "inputAudioTranscription": {},
            "outputAudioTranscription": {},
            "contextWindowCompression": {"slidingWindow": {}},
        }
        if self._tools:
            setup["tools"] = [{"functionDeclarations": self._tools}]
        if prompt := instructions(self._messages):
            setup["systemInstruction"] = {"parts": [{"text": prompt}]}
        if history:
            setup["historyConfig"] = {"initialHistoryInClientContent": True}
        await socket.send(json.dumps({"setup": setup}))
        if "setupComplete" not in json.loads(await socket.recv()):
            raise Lost("the session was not confirmed")
        if history:
            await socket.send(json.dumps({"clientContent": {"turns": history, "turnComplete": True}}))

    def _offered(self) -> list[dict[str, Any]]:
        return [
            tool.to_default_dict() | {"behavior": "NON_BLOCKING" if self._function_is_async(tool.name) else "BLOCKING"}
            for tool in self._tools_offered
        ]

    def _is_stale(self) -> bool:
        return super()._is_stale() or self._tools != self._offered()  # some are found late

    def _forget(self) -> None:
        self._turns.clear()
        self._is_hearing, self._cut_ms = False, None
        self._heard_in, self._early_words = None, ""
        if self._words_due is not None:
            self._words_due.cancel()
            self._words_due = None

    async def _tell(self, kind: str, **fields: Any) -> bool:
        return await self._send(json.dumps({kind: fields}))


def content(news: News) -> dict[str, Any]:
    """News of the conversation as a turn of the API's, which knows two sides."""
    match news:
        case Called():
            call = {"id": news.call_id, "name": news.name, "args": json.loads(news.arguments or "{}")}
            return {"role": "model", "parts": [{"functionCall": call}]}
        case Answered():
            answer = {"id": news.call_id, "name": news.name, "response": {"output": news.answer}}
            return {"role": "user", "parts": [{"functionResponse": answer}]}
        case Said("assistant", text):
            return {"role": "model", "parts": [{"text": text}]}
        case Said("user", text):
            return {"role": "user", "parts": [{"text": text}]}
        case _:
            return {"role": "user", "parts": [{"text": f"(Not from the caller: {news.text})"}]}


def _usage(usage: dict[str, Any]) -> LLMTokenUsage:
    """Answers of tools are counted apart from the prompt, thoughts apart from the reply; both are paid for."""
    read = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
    said = (usage.get("responseTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0)
    return LLMTokenUsage(
        prompt_tokens=read,
        completion_tokens=said,
        total_tokens=read + said,
        cache_read_input_tokens=usage.get("cachedContentTokenCount"),
        input_audio_tokens=_of_sound(usage.get("promptTokensDetails")),
        output_audio_tokens=_of_sound(usage.get("responseTokensDetails")),
    )


def _of_sound(details: list[dict[str, Any]] | None) -> int | None:
    return next((one.get("tokenCount") for one in details or () if one.get("modality") == "AUDIO"), None)
