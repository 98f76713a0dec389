"""OpenAI's HTTP API as its streaming clients see it: chat completions, transcriptions, speech."""

import asyncio
import io
import re
import wave
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from turncall_testkit.vendors.manners import Asked, Kind, Manners
from turncall_testkit.vendors.serving import Stalls, cut, serving
from turncall_testkit.vendors.tones import tone

RATE_HZ: Final = 24_000
"""Of the API's raw PCM."""
_MODEL: Final = "fake-1"
_ARGUMENT_PIECE: Final = 4
"""Characters of a tool's arguments in one delta."""


class Call(Struct, frozen=True, kw_only=True):
    """A call of a tool, as the model writes it."""

    name: str
    arguments: Mapping[str, Any]


class Reply(Struct, frozen=True, kw_only=True):
    """One answer of the model: words, then calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()


class OpenAIFake:
    """Answers chat requests with ``replies`` in turn, the last one ever after; hears ``transcript`` in any sound;
    speaks a tone of ``tone_hz`` for ``speech_s``. Takes any key, or only ``key`` if given."""

    def __init__(
        self,
        *,
        replies: Sequence[Reply] = (Reply(text="Hello there. How can I help you?"),),
        transcript: str = "book a table for two",
        tone_hz: float = 440.0,
        speech_s: float = 1.0,
        key: str = "",
    ) -> None:
        self.base_url = ""
        self.manners = Manners()
        self.journal: list[Asked] = []
        self.stalls = Stalls()
        self._replies = list(replies)
        self._transcript = transcript
        self._speech = tone(tone_hz, RATE_HZ, speech_s)
        self._key = key

    def options(self, kind: Kind) -> dict[str, Any]:
        """Options for `turncall_media.providers.openai`."""
        return {"base_url": self.base_url, "model": _MODEL, "timeout_ms": 500}

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions, streamed only."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        if (refusal := self._refusal(request, asked)) is not None:
            return refusal
        if asked.get("stream") is not True:
            return _error(400, "invalid_request_error", "this server only streams")
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        chunks = list(_chunks(reply, bool(asked.get("stream_options", {}).get("include_usage"))))
        events = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
        broken = b'data: {"error": {"message": "the model is gone", "type": "server_error"}}\n\n'
        return await self._stream(request, "text/event-stream", [*events, b"data: [DONE]\n\n"], broken)

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/transcriptions, a form with one WAV file."""
        form = await request.post()
        upload = form.get("file")
        if not isinstance(upload, web.FileField):
            return _error(400, "invalid_request_error", "file is missing")
        with upload.file, wave.open(io.BytesIO(upload.file.read())) as sound:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            fields |= {"rate_hz": sound.getframerate(), "channels": sound.getnchannels()}
            audio = sound.readframes(sound.getnframes())
        if (refusal := self._refusal(request, fields, audio)) is not None:
            return refusal
        return await self._stream(request, "application/json", [msgspec.json.encode({"text": self._transcript})], b"")

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/speech, raw PCM only, in pieces that end within a sample."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        if (refusal := self._refusal(request, asked)) is not None:
            return refusal
        if asked.get("response_format") != "pcm":
            return _error(400, "invalid_request_error", "this server only speaks pcm")
        pieces = [self._speech[start : start + 1201] for start in range(0, len(self._speech), 1201)]
        return await self._stream(request, "audio/pcm", pieces, b"")

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models."""
        if (refusal := self._refusal(request, {})) is not None:
            return refusal
        return web.json_response({"object": "list", "data": [{"id": _MODEL, "object": "model", "owned_by": "fake"}]})

    def _refusal(self, request: web.Request, fields: Mapping[str, Any], audio: bytes = b"") -> web.Response | None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.journal.append(Asked(name=request.path, key=key, fields=fields, audio=audio))
        if self.manners.fault == "refuse_key" or not key or (self._key and key != self._key):
            return _error(401, "invalid_request_error", "Incorrect API key provided")
        if self.manners.fault == "fail":
            return _error(500, "server_error", "The server had an error while processing your request")
        return None

    async def _stream(
        self, request: web.Request, content_type: str, pieces: Sequence[bytes], broken: bytes
    ) -> web.StreamResponse:
        """The pieces in a chunked answer; a fault comes after half of them."""
        manners = self.manners
        if manners.fault == "stall":
            await self.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        answer = web.StreamResponse(headers={"Content-Type": content_type})
        await answer.prepare(request)
        faulty = manners.fault in ("break", "cut")
        for piece in pieces[: len(pieces) // 2] if faulty else pieces:
            await answer.write(piece)
            await asyncio.sleep(manners.pace_s)
        if manners.fault == "break" and broken:
            await answer.write(broken)
        elif faulty:
            cut(request)
        else:
            await answer.write_eof()
        return answer


@asynccontextmanager
async def openai_fake(**answers: Any) -> AsyncIterator[OpenAIFake]:
    """The fake on loopback. ``answers`` are the keyword arguments of `OpenAIFake`."""
    fake = OpenAIFake(**answers)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", fake.chat)
    app.router.add_post("/v1/audio/transcriptions", fake.transcribe)
    app.router.add_post("/v1/audio/speech", fake.speak)
    app.router.add_get("/v1/models", fake.models)
    async with serving(app, fake.stalls) as address:
        fake.base_url = f"http://{address}/v1"
        yield fake


def _chunks(reply: Reply, has_usage: bool) -> Iterator[dict[str, Any]]:
    yield _chunk({"role": "assistant", "content": ""})
    for piece in re.findall(r"\s*\S+", reply.text):
        yield _chunk({"content": piece})
    for index, call in enumerate(reply.calls):
        head = {"index": index, "id": f"call_{index}", "type": "function"}
        yield _chunk({"tool_calls": [{**head, "function": {"name": call.name, "arguments": ""}}]})
        written = msgspec.json.encode(call.arguments).decode()
        for start in range(0, len(written), _ARGUMENT_PIECE):
            piece = written[start : start + _ARGUMENT_PIECE]
            yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk({}, "tool_calls" if reply.calls else "stop")
    if has_usage:
        usage = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
        yield {**_chunk({}), "choices": [], "usage": usage}


def _chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": _MODEL, "choices": [choice]}


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "code": None}}, status=status)
