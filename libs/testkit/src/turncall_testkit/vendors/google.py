"""Google's HTTP APIs as their clients see them: Gemini's streamGenerateContent, speech:recognize, text:synthesize."""

import base64
import io
import wave
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Replies, Reply, words
from turncall_testkit.vendors.serving import UNKNOWN, Desk, serving
from turncall_testkit.vendors.tones import tone

_TOLD = {
    400: ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    404: ("NOT_FOUND", "models/nobody is not found for API version v1"),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


class GoogleFake(Desk):
    """Answers with ``replies`` in turn, the last one ever after; hears ``transcript`` in any sound; speaks a tone of
    ``tone_hz`` for ``speech_s``. Takes any key, or only ``key`` if given; knows every model and voice but `UNKNOWN`."""

    def __init__(
        self,
        *,
        replies: Sequence[Reply] = (Reply(text="Hello there. How can I help you?"),),
        transcript: str = "book a table for two",
        tone_hz: float = 440.0,
        speech_s: float = 1.0,
        key: str = "",
    ) -> None:
        super().__init__(key)
        self._replies = Replies(replies)
        self._transcript = transcript
        self._tone_hz = tone_hz
        self._speech_s = speech_s

    def options(self, kind: Kind) -> dict[str, Any]:
        """Options for `turncall_media.providers.google`."""
        return {"base_url": self.base_url, "timeout_ms": 500}

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/models/{model}:streamGenerateContent."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        refusal = self._refusal(request, asked, unknown=request.match_info["model"])
        if refusal is not None:
            return refusal
        events = [b"data: " + msgspec.json.encode(event) + b"\r\n\r\n" for event in _events(self._replies.next())]
        broken = b"data: " + msgspec.json.encode(_error(503)) + b"\r\n\r\n"
        return await self.stream(request, "text/event-stream", events, broken)

    async def recognize(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/speech:recognize: two results for one utterance, as for one with a pause."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        audio = base64.b64decode(asked["audio"]["content"])
        refusal = self._refusal(request, asked["config"], unknown=asked["config"]["model"], audio=audio)
        if refusal is not None:
            return refusal
        first, _, rest = self._transcript.partition(" ")
        results = [{"alternatives": [{"transcript": part, "confidence": 0.9}]} for part in (first, f" {rest}")]
        return await self._whole(request, {"results": results, "totalBilledTime": "1s"})

    async def synthesize(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/text:synthesize, as a WAV file."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        refusal = self._refusal(request, asked, unknown=asked["voice"]["name"].rpartition("-")[2])
        if refusal is not None:
            return refusal
        rate_hz, file = asked["audioConfig"]["sampleRateHertz"], io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, rate_hz, 0, "NONE", ""))
            sound.writeframes(tone(self._tone_hz, rate_hz, self._speech_s))
        return await self._whole(request, {"audioContent": base64.b64encode(file.getvalue()).decode()})

    async def _whole(self, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        text = msgspec.json.encode(answer)
        return await self.stream(request, "application/json", [text[: len(text) // 2], text[len(text) // 2 :]], b"")

    def _refusal(
        self, request: web.Request, asked: dict[str, Any], *, unknown: str, audio: bytes = b""
    ) -> web.Response | None:
        """Google calls a bad key a bad request."""
        status = self.received(request, request.headers.get("x-goog-api-key", ""), asked, audio)
        status = {401: 400}.get(status, status) or (404 if unknown == UNKNOWN else 0)
        return web.json_response(_error(status), status=status) if status else None


@asynccontextmanager
async def google_fake(**answers: Any) -> AsyncIterator[GoogleFake]:
    """The fake on loopback. ``answers`` are the keyword arguments of `GoogleFake`."""
    fake = GoogleFake(**answers)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/models/{model}:streamGenerateContent", fake.generate)
    app.router.add_post("/v1/speech:recognize", fake.recognize)
    app.router.add_post("/v1/text:synthesize", fake.synthesize)
    async with serving(app, fake.stalls) as address:
        fake.base_url = f"http://{address}"
        yield fake


def _error(status: int) -> dict[str, Any]:
    kind, message = _TOLD[status]
    return {"error": {"code": status, "message": message, "status": kind}}


def _events(reply: Reply) -> Iterator[dict[str, Any]]:
    for word in words(reply.text):
        yield _event({"text": word})
    for call in reply.calls:
        if call.written:  # Gemini's own word for what others send as broken JSON
            yield {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}
            return
        yield _event({"functionCall": {"name": call.name, "args": call.arguments}})
    usage = {
        "promptTokenCount": INPUT_TOKENS,
        "candidatesTokenCount": OUTPUT_TOKENS,
        "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    end = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP"}
    yield {"candidates": [end], "usageMetadata": usage}


def _event(part: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [part]}}]}
