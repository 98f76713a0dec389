"""Gemini's Live API over a websocket: v1beta's BidiGenerateContent, with turns that the client marks."""

import asyncio
import base64
import itertools
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Reply
from turncall_testkit.vendors.serving import UNKNOWN, cut, opened
from turncall_testkit.vendors.talking import TalkingDesk

PATH: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
RATE_HZ: Final = 24_000
HEARD_S: Final = 0.05
"""From a reply's end to its turn's: what is left of its playing, as the server has it."""
LAST_WARNING_S: Final = 0.3
INVALID: Final = 1007
POLICY: Final = 1008
INTERNAL: Final = 1011


class Refused(Exception):
    """Something for which the server closes the session."""

    def __init__(self, message: str, code: int = INVALID) -> None:
        super().__init__(message)
        self.code = code


class GeminiLiveFake(TalkingDesk):
    """Knows every model and voice but `UNKNOWN`."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.live: set[_Session] = set()
        self.numbers = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.get(PATH, self.serve)]

    async def expire(self) -> None:
        """Each connection ends after some minutes, and is told so a little before."""
        for session in list(self.live):
            await session.expire()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """GET the socket. A bad key is found out behind the handshake."""
        status = self.received(request.path, request.headers.get("x-goog-api-key", ""), dict(request.query))
        if status == 500:
            return web.Response(status=500)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if status:
            await socket.close(code=INVALID, message=b"API key not valid. Please pass a valid API key.")
            return socket
        session = _Session(self, request, socket)
        self.live.add(session)
        try:
            await session.run()
        except Refused as refusal:
            await socket.close(code=refusal.code, message=str(refusal).encode())
        finally:
            self.live.discard(session)
            await session.close()
        return socket


class _Session:
    """One socket."""

    def __init__(self, fake: GeminiLiveFake, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._fake = fake
        self._request = request
        self._socket = socket
        self._setup: dict[str, Any] = {}
        self._is_in_the_past = False
        self._sound: bytearray | None = None  # of the activity that has begun
        self._turn: asyncio.Task[None] | None = None
        self._is_waiting = False  # for the answers of calls that block
        self._answered = asyncio.Event()
        self._due: set[str] = set()  # calls that are not answered
        self._writing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answers the client's messages until it leaves. Raises `Refused`."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                event = msgspec.json.decode(message.data, type=dict[str, Any])
                ((kind, fields),) = event.items()
                if "audio" not in fields:
                    self._fake.journal.append(Asked(name=kind, fields=fields, audio=bytes(self._sound or b"")))
                await self._take(kind, fields)

    async def close(self) -> None:
        """Ends what is being said."""
        for task in [*([self._turn] if self._turn else []), *self._writing]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def expire(self) -> None:
        """The connection will end."""
        await self._tell(goAway={"timeLeft": f"{LAST_WARNING_S}s"})
        await asyncio.sleep(LAST_WARNING_S)
        await self._socket.close(code=POLICY, message=b"The connection has lasted too long.")

    async def _take(self, kind: str, fields: dict[str, Any]) -> None:
        if not self._setup:
            if kind != "setup":
                raise Refused("setup must be the first message")
            await self._configure(fields)
        elif kind == "clientContent":
            await self._add(fields)
        elif kind == "realtimeInput" and not self._is_in_the_past:
            await self._hear(fields)
        elif kind == "toolResponse":
            await self._answer(fields["functionResponses"])
        else:
            raise Refused(f"Request contains an invalid argument: {kind}")

    async def _configure(self, setup: dict[str, Any]) -> None:
        if setup["model"] == f"models/{UNKNOWN}":
            raise Refused(f"{setup['model']} is not found for API version v1beta", POLICY)
        if not setup["realtimeInputConfig"]["automaticActivityDetection"]["disabled"]:
            raise Refused("this server has no ear for turns")
        self._setup = setup
        self._is_in_the_past = setup.get("historyConfig", {}).get("initialHistoryInClientContent", False)
        self._fake.sessions.append(setup)
        self._fake.conversation = []
        await self._tell(setupComplete={})

    async def _add(self, fields: dict[str, Any]) -> None:
        await self._interrupt()
        self._fake.conversation += fields.get("turns", ())
        if fields.get("turnComplete"):
            self._is_in_the_past = False

    async def _hear(self, fields: dict[str, Any]) -> None:
        if "activityStart" in fields:
            if self._sound is not None:
                raise Refused("activity has started already")
            await self._interrupt()
            self._sound = bytearray()
        elif "audio" in fields:
            if self._sound is not None:  # what is outside of an activity is nobody's
                self._sound += base64.b64decode(fields["audio"]["data"], validate=True)
        elif "activityEnd" in fields:
            if self._sound is None:
                raise Refused("no activity has started")
            self._sound = None
            transcript = self._fake.transcripts.next()
            self._fake.conversation.append({"role": "user", "parts": [{"text": transcript}]})
            self._background(self._write_down(transcript))
            self._speak_next(self._fake.replies.next())
        elif "text" in fields:
            await self._interrupt()
            text = fields["text"].partition("\n")[2]
            self._fake.conversation.append({"role": "user", "parts": [{"text": fields["text"]}]})
            self._speak_next(Reply(text=text) if text else self._fake.replies.next())

    async def _answer(self, answers: list[dict[str, Any]]) -> None:
        for answer in answers:
            self._due.discard(answer["id"])
            self._fake.conversation.append({"role": "user", "parts": [{"functionResponse": answer}]})
        if self._due:
            return
        if self._is_waiting:
            self._answered.set()
        else:
            self._speak_next(self._fake.replies.next(), after=self._turn)

    async def _interrupt(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None or turn.done():
            return
        turn.cancel()
        with suppress(asyncio.CancelledError):
            await turn
        self._is_waiting = False
        if self._due:
            await self._tell(toolCallCancellation={"ids": sorted(self._due)})
            self._due.clear()
        await self._tell(serverContent={"interrupted": True})
        await self._tell(serverContent={"turnComplete": True}, usageMetadata=_USAGE)

    def _speak_next(self, reply: Reply, *, after: asyncio.Task[None] | None = None) -> None:
        self._turn = asyncio.create_task(self._speak(reply, after))

    async def _speak(self, reply: Reply, after: asyncio.Task[None] | None) -> None:
        """A turn of the model: with a call that blocks it goes on when that is answered."""
        if after is not None:
            await after
        manners = self._fake.manners
        if manners.fault == "stall":
            await self._fake.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        if reply.text:
            await self._say(reply.text)
        while reply.calls:
            calls = [
                {"id": f"call_{next(self._fake.numbers)}", "name": call.name, "args": call.arguments}
                for call in reply.calls
            ]
            self._answered.clear()
            self._due = {str(call["id"]) for call in calls}
            self._fake.conversation.append({"role": "model", "parts": [{"functionCall": call} for call in calls]})
            await self._tell(toolCall={"functionCalls": calls})
            if not any(self._blocks(call.name) for call in reply.calls):
                break
            self._is_waiting = True
            await self._answered.wait()
            self._is_waiting = False
            reply = self._fake.replies.next()
            await self._say(reply.text)
        await self._tell(serverContent={"generationComplete": True})
        await asyncio.sleep(HEARD_S)
        await self._tell(serverContent={"turnComplete": True}, usageMetadata=_USAGE)

    async def _say(self, text: str) -> None:
        """A fault comes after half of it."""
        known = {"role": "model", "parts": [{"text": text}]}
        self._fake.conversation.append(known)
        for piece, said in self._fake.spoken(text, RATE_HZ):
            blob = {"mimeType": f"audio/pcm;rate={RATE_HZ}", "data": base64.b64encode(piece).decode()}
            await self._tell(serverContent={"modelTurn": {"role": "model", "parts": [{"inlineData": blob}]}})
            if said:
                await self._tell(serverContent={"outputTranscription": {"text": "".join(said)}})
            await asyncio.sleep(self._fake.manners.pace_s)
        if self._fake.manners.fault == "cut":
            cut(self._request)
        elif self._fake.manners.fault == "break":
            await self._socket.close(code=INTERNAL, message=b"Internal error encountered.")

    def _blocks(self, name: str) -> bool:
        declared = [one for tool in self._setup.get("tools", ()) for one in tool["functionDeclarations"]]
        return not any(one["name"] == name and one["behavior"] == "NON_BLOCKING" for one in declared)

    async def _write_down(self, transcript: str) -> None:
        await asyncio.sleep(self._fake.words_after_s)
        for index, word in enumerate(transcript.split()):
            await self._tell(serverContent={"inputTranscription": {"text": f" {word}" if index else word}})

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _tell(self, **fields: Any) -> None:
        if not self._socket.closed:
            with suppress(ConnectionError):
                await self._socket.send_bytes(msgspec.json.encode(fields))


_USAGE: Final = {
    "promptTokenCount": INPUT_TOKENS,
    "responseTokenCount": OUTPUT_TOKENS,
    "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}, {"modality": "AUDIO", "tokenCount": 10}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": OUTPUT_TOKENS}],
}


gemini_live_fake = opened(GeminiLiveFake)
"""Its keyword arguments are those of `GeminiLiveFake`."""
