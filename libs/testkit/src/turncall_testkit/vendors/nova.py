"""Nova Sonic as Bedrock streams it: one request of HTTP/2 in both directions, whose messages are signed one by one. It
has an ear of its own."""

import asyncio
import itertools
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, WindowUpdated
from h2.exceptions import ProtocolError

from turncall_testkit.vendors.eventstream import Message, Signatures, framed, parsed, taken
from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Reply
from turncall_testkit.vendors.serving import UNKNOWN
from turncall_testkit.vendors.talking import Ear, TalkingDesk

ENDPOINT_S: Final = {"HIGH": 1.5, "MEDIUM": 1.75, "LOW": 2.0}
LARGEST_TEXT: Final = 1024
_TOLD: Final = {
    400: ("ValidationException", "The provided model identifier is invalid."),
    403: ("AccessDeniedException", "The security token included in the request is invalid."),
    500: ("InternalServerException", "The system encountered an unexpected error."),
}


class Refused(Exception):
    """Something for which the stream ends with an exception."""


class NovaSonicFake(TalkingDesk):
    """Knows every model but `UNKNOWN`. With a ``key``, as ``id:secret``, it checks each signature."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.live: set[_Session] = set()

    @property
    def secret(self) -> str:
        """Of the key that it takes; empty when it takes any."""
        return self._key.partition(":")[2]

    def refusal(self, path: str, headers: dict[str, str]) -> int:
        """The HTTP status that a request is refused with, or 0."""
        number = headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        status = self.received(path, f"{number}:{self.secret}" if self._key else number, {})
        if not status and self.secret and not Signatures(self.secret, headers, path).is_right:
            status = 401
        is_unknown = unquote(path).split("/")[2] == UNKNOWN
        return {401: 403}.get(status, status) or (400 if is_unknown else 0)

    async def expire(self) -> None:
        """A session lasts eight minutes."""
        for session in list(self.live):
            await session.fail("modelTimeoutException", "Model has timed out in processing the request.")


@asynccontextmanager
async def nova_sonic_fake(**answers: Any) -> AsyncIterator[NovaSonicFake]:
    """Listens on loopback meanwhile. Its keyword arguments are those of `NovaSonicFake`."""
    fake, connections = NovaSonicFake(**answers), set[_Connection]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(fake, reader, writer)
        connections.add(connection)
        try:
            await connection.run()
        finally:
            connections.discard(connection)
            await connection.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    fake.base_url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        fake.stalls.release()
        server.close()
        for connection in connections:
            connection.cut()
        await server.wait_closed()


class _Connection:
    """One connection, with its one request."""

    def __init__(self, fake: NovaSonicFake, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._fake = fake
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._number = 0
        self._buffer = bytearray()
        self._signatures: Signatures | None = None
        self._session: _Session | None = None
        self._sending = asyncio.Lock()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Answers until either side leaves."""
        self._http.initiate_connection()
        self._flush()
        with suppress(ConnectionError, ProtocolError):
            while data := await self._reader.read(1 << 16):
                for event in self._http.receive_data(data):
                    await self._take(event)
                self._flush()

    async def close(self) -> None:
        """Ends what is being said."""
        if self._session is not None:
            await self._session.close()
        self._writer.close()

    def cut(self) -> None:
        """Takes the connection away."""
        self._writer.transport.abort()

    async def send(self, message: bytes) -> None:
        """A piece of the answer, no faster than it is taken."""
        async with self._sending:
            while message:
                size = min(self._http.local_flow_control_window(self._number), len(message), 16_384)
                if not size:
                    self._room.clear()
                    await self._room.wait()
                    continue
                self._http.send_data(self._number, message[:size])
                message = message[size:]
                self._flush()

    def end(self) -> None:
        """The answer is complete."""
        self._http.end_stream(self._number)
        self._flush()

    async def _take(self, event: Event) -> None:
        match event:
            case RequestReceived():
                assert event.stream_id is not None
                self._number = event.stream_id
                await self._begin({str(name): str(value) for name, value in event.headers or ()})
            case DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, self._number)
                self._buffer += event.data or b""
                for message in taken(self._buffer):
                    await self._hear(message)
            case WindowUpdated():
                self._room.set()
            case StreamEnded() if self._session is not None:
                await self._session.close()

    async def _begin(self, headers: dict[str, str]) -> None:
        path = headers[":path"]
        headers["host"] = headers[":authority"]
        if status := self._fake.refusal(path, headers):
            kind, message = _TOLD[status]
            self._http.send_headers(self._number, [(":status", str(status)), ("x-amzn-errortype", kind)])
            self._http.send_data(self._number, msgspec.json.encode({"message": message}), end_stream=True)
            return
        if self._fake.secret:
            self._signatures = Signatures(self._fake.secret, headers, path)
        self._http.send_headers(
            self._number, [(":status", "200"), ("content-type", "application/vnd.amazon.eventstream")]
        )
        self._session = _Session(self._fake, self)

    async def _hear(self, message: Message) -> None:
        if self._session is None:
            return
        if self._signatures is not None and not self._signatures.check(message):
            await self._session.fail("accessDeniedException", "The signature does not match.")
        elif message.payload:
            event = msgspec.json.decode(parsed(message.payload).payload, type=dict[str, Any])
            await self._session.take(msgspec.json.decode(b64decode(event["bytes"]), type=dict[str, Any])["event"])

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self._writer.write(data)


class _Session:
    """One conversation."""

    def __init__(self, fake: NovaSonicFake, connection: _Connection) -> None:
        self._fake = fake
        self._connection = connection
        self._configuration: dict[str, Any] = {}
        self._prompt = ""
        self._open: dict[str, dict[str, Any]] = {}  # contents, with what is in them
        self._numbers = itertools.count(1)
        self._speaking: asyncio.Task[None] | None = None
        self._results: dict[str, asyncio.Future[str]] = {}
        self._is_over = False

    async def take(self, event: dict[str, Any]) -> None:
        """One event of the client's."""
        ((kind, fields),) = event.items()
        if kind != "audioInput":
            self._fake.journal.append(Asked(name=kind, fields=fields))
        try:
            await self._take(kind, fields)
        except Refused as refusal:
            await self.fail("validationException", str(refusal))

    async def fail(self, kind: str, message: str) -> None:
        """The stream ends with an exception."""
        await self._stop()
        if not self._is_over:
            self._is_over = True
            self._fake.live.discard(self)
            await self._connection.send(framed("exception", kind, {"message": message}))
            self._connection.end()

    async def close(self) -> None:
        """Ends what is being said."""
        self._is_over = True
        self._fake.live.discard(self)
        await self._stop()

    async def _stop(self) -> bool:
        """Whether something was being said."""
        speaking, self._speaking = self._speaking, None
        if speaking is None or speaking.done() or speaking is asyncio.current_task():
            return False
        speaking.cancel()
        with suppress(asyncio.CancelledError):
            await speaking
        return True

    async def _take(self, kind: str, fields: dict[str, Any]) -> None:
        if kind == "sessionStart":
            self._configuration = fields
            return
        if kind == "promptStart":
            self._configuration |= fields
            self._prompt = fields["promptName"]
            self._fake.sessions.append(self._configuration)
            self._fake.conversation = []
            self._fake.live.add(self)
            sensitivity = self._configuration["turnDetectionConfiguration"]["endpointingSensitivity"]
            self._ear = Ear(fields["audioOutputConfiguration"]["sampleRateHertz"], ENDPOINT_S[sensitivity])
            return
        if kind == "sessionEnd":
            return
        if not self._prompt or fields["promptName"] != self._prompt:
            raise Refused("Invalid input request, please fix your input and try again.")
        name = fields.get("contentName", "")
        if kind == "contentStart":
            self._open[name] = {**fields, "text": ""}
        elif kind != "promptEnd" and name not in self._open:
            raise Refused(f"No open content found for content name: {name}")
        elif kind == "audioInput":
            await self._hear(b64decode(fields["content"], validate=True))
        elif kind in ("textInput", "toolResult"):
            content = self._open[name]
            if content["role"] != "SYSTEM" and kind == "textInput" and len(fields["content"].encode()) > LARGEST_TEXT:
                raise Refused("The text is too long.")
            content["text"] += fields["content"]
        elif kind == "contentEnd":
            await self._told(self._open.pop(name))

    async def _told(self, content: dict[str, Any]) -> None:
        """All of a content is there."""
        if content["type"] == "AUDIO":
            return
        self._fake.conversation.append({"role": content["role"], "text": content["text"]})
        if content["type"] == "TOOL":
            self._results[content["toolResultInputConfiguration"]["toolUseId"]].set_result(content["text"])
        elif content["interactive"]:
            await self._interrupt()
            line = content["text"].partition("\n")[2]
            self._say(Reply(text=line) if line else self._fake.replies.next())

    async def _hear(self, pcm: bytes) -> None:
        heard = self._ear.hear(pcm)
        if heard == "voice":
            await self._interrupt()
        elif heard == "end":
            transcript = self._fake.transcripts.next()
            self._fake.conversation.append({"role": "USER", "text": transcript})
            self._say(self._fake.replies.next(), transcript)

    async def _interrupt(self) -> None:
        if await self._stop():
            await self._content("TEXT", "ASSISTANT", "FINAL", "INTERRUPTED", [("textOutput", "")])

    def _say(self, reply: Reply, transcript: str = "") -> None:
        self._speaking = asyncio.create_task(self._answer(reply, transcript))

    async def _answer(self, reply: Reply, transcript: str) -> None:
        manners = self._fake.manners
        await self._tell("completionStart")
        if transcript:
            await asyncio.sleep(self._fake.words_after_s)
            for part in filter(None, transcript.partition(" ")[::2]):
                await self._content("TEXT", "USER", "FINAL", "PARTIAL_TURN", [("textOutput", part)])
        if manners.fault == "stall":
            await self._fake.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        await self._speak(reply)
        while reply.calls:
            for call in reply.calls:
                await self._use(call.name, call.written or msgspec.json.encode(call.arguments).decode())
            reply = self._fake.replies.next()
            await self._speak(reply)
        spent = {"speechTokens": OUTPUT_TOKENS - 2, "textTokens": 2}
        heard = {"speechTokens": INPUT_TOKENS - 2, "textTokens": 2}
        await self._tell("usageEvent", details={"delta": {"input": heard, "output": spent}})
        await self._tell("completionEnd", stopReason="END_TURN")

    async def _speak(self, reply: Reply) -> None:
        """A fault comes after half of it."""
        if not reply.text:
            return
        self._fake.conversation.append({"role": "ASSISTANT", "text": reply.text})
        await self._content("TEXT", "ASSISTANT", "SPECULATIVE", "PARTIAL_TURN", [("textOutput", reply.text)])
        rate_hz = self._configuration["audioOutputConfiguration"]["sampleRateHertz"]
        sound = [("audioOutput", b64encode(pcm).decode()) for pcm, _ in self._fake.spoken(reply.text, rate_hz)]
        await self._content("AUDIO", "ASSISTANT", "", "PARTIAL_TURN" if reply.calls else "END_TURN", sound)
        await self._content("TEXT", "ASSISTANT", "FINAL", "END_TURN", [("textOutput", reply.text)])

    async def _use(self, name: str, content: str) -> None:
        number = f"tool-{next(self._numbers)}"
        result = self._results[number] = asyncio.get_running_loop().create_future()
        fields = {"toolName": name, "toolUseId": number, "content": content}
        await self._content("TOOL", "TOOL", "", "TOOL_USE", [("toolUse", fields)])
        await result

    async def _content(self, kind: str, role: str, stage: str, stop: str, pieces: list[tuple[str, Any]]) -> None:
        number = f"content-{next(self._numbers)}"
        more = {"additionalModelFields": msgspec.json.encode({"generationStage": stage}).decode()} if stage else {}
        await self._tell("contentStart", contentId=number, type=kind, role=role, **more)
        for name, piece in pieces:
            fields = piece if isinstance(piece, dict) else {"content": piece}
            await self._tell(name, contentId=number, role=role, **fields)
            if kind == "AUDIO":
                await asyncio.sleep(self._fake.manners.pace_s)
        if kind == "AUDIO" and self._fake.manners.fault == "cut":
            self._connection.cut()
            await self._fake.stalls.stall()
        elif kind == "AUDIO" and self._fake.manners.fault == "break":
            await self.fail("internalServerException", "The model failed.")
            await self._fake.stalls.stall()
        await self._tell("contentEnd", contentId=number, type=kind, stopReason=stop)

    async def _tell(self, kind: str, **fields: Any) -> None:
        if not self._is_over:
            event = msgspec.json.encode({"event": {kind: {"promptName": self._prompt, **fields}}})
            await self._connection.send(framed("event", "chunk", {"bytes": b64encode(event).decode(), "p": "abc"}))
