"""OpenAI's HTTP API as its streaming clients see it: chat completions, transcriptions, speech, embeddings."""

import io
import re
import wave
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Reply, words
from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened
from turncall_testkit.vendors.tones import tone

RATE_HZ: Final = 24_000
"""Of the API's raw PCM."""
_MODEL: Final = "fake-1"
DIMENSIONS: Final = 96
"""Of a vector, unless others are asked for."""


class OpenAIFake(Desk):
    """Hears in any sound."""

    PATH = "/v1"

    def options(self, kind: Kind) -> dict[str, Any]:
        """Options for `turncall_media.providers.openai`."""
        return {"base_url": self.base_url, "model": _MODEL, "timeout_ms": 500}

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [
            web.post("/v1/chat/completions", self.chat),
            web.post("/v1/audio/transcriptions", self.transcribe),
            web.post("/v1/audio/speech", self.speak),
            web.post("/v1/embeddings", self.embed),
            web.get("/v1/models", self.models),
        ]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions, streamed only."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        if (refusal := self._refusal(request, asked)) is not None:
            return refusal
        if asked.get("stream") is not True:
            return _error(400, "invalid_request_error", "this server only streams")
        reply = self.replies.next()
        chunks = list(_chunks(reply, bool(asked.get("stream_options", {}).get("include_usage"))))
        events = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
        broken = b'data: {"error": {"message": "the model is gone", "type": "server_error"}}\n\n'
        return await self.stream(request, "text/event-stream", [*events, b"data: [DONE]\n\n"], broken)

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
        return await self.stream(
            request, "application/json", [msgspec.json.encode({"text": self.transcripts.next()})], b""
        )

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/speech, raw PCM only, in pieces that end within a sample."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        if (refusal := self._refusal(request, asked)) is not None:
            return refusal
        if asked.get("response_format") != "pcm":
            return _error(400, "invalid_request_error", "this server only speaks pcm")
        speech = tone(self.tone_hz, RATE_HZ, self.speech_s)
        pieces = [speech[start : start + 1201] for start in range(0, len(speech), 1201)]
        return await self.stream(request, "audio/pcm", pieces, b"")

    async def embed(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/embeddings: what shares words is near to each other."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        if (refusal := self._refusal(request, asked)) is not None:
            return refusal
        texts = asked["input"]
        data = [
            {"object": "embedding", "index": index, "embedding": _hashed(text, asked.get("dimensions", DIMENSIONS))}
            for index, text in enumerate(texts)
        ]
        used = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": used, "total_tokens": used}
        body = {"object": "list", "model": asked["model"], "data": data, "usage": usage}
        return await self.stream(request, "application/json", [msgspec.json.encode(body)], b"")

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models."""
        if (refusal := self._refusal(request, {})) is not None:
            return refusal
        return web.json_response({"object": "list", "data": [{"id": _MODEL, "object": "model", "owned_by": "fake"}]})

    def _refusal(self, request: web.Request, fields: Mapping[str, Any], audio: bytes = b"") -> web.Response | None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        status = self.received(request.path, key, fields, audio)
        if status == 401:
            return _error(401, "invalid_request_error", "Incorrect API key provided")
        if status == 500:
            return _error(500, "server_error", "The server had an error while processing your request")
        if UNKNOWN in (fields.get("model"), fields.get("voice")):
            return _error(404, "invalid_request_error", "The model or the voice does not exist")
        return None


openai_fake = opened(OpenAIFake)
"""Its keyword arguments are those of `OpenAIFake`."""


def _chunks(reply: Reply, has_usage: bool) -> Iterator[dict[str, Any]]:
    yield _chunk({"role": "assistant", "content": ""})
    for piece in words(reply.text):
        yield _chunk({"content": piece})
    for index, call in enumerate(reply.calls):
        head = {"index": index, "id": f"call_{index}", "type": "function"}
        yield _chunk({"tool_calls": [{**head, "function": {"name": call.name, "arguments": ""}}]})
        for piece in call.pieces():
            yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk({}, "tool_calls" if reply.calls else "stop")
    if has_usage:
        usage = {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        }
        yield {**_chunk({}), "choices": [], "usage": usage}


def _chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": _MODEL, "choices": [choice]}


def _hashed(text: str, dimensions: int) -> list[float]:
    """One place for each word."""
    vector = [0.001] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % dimensions] += 1.0
    return vector


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "code": None}}, status=status)
