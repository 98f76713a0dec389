"""Google's HTTP APIs as their clients see them: Gemini's streamGenerateContent, speech:recognize, text:synthesize."""

import base64
import io
import wave
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Reply, words
from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened
from turncall_testkit.vendors.tones import tone

_TOLD = {
    400: ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    404: ("NOT_FOUND", "models/nobody is not found for API version v1"),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


class GoogleFake(Desk):
    """Hears in any sound; knows every model and voice but `UNKNOWN`."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [
            web.post("/v1/models/{model}:streamGenerateContent", self.generate),
            web.post("/v1/speech:recognize", self.recognize),
            web.post("/v1/text:synthesize", self.synthesize),
        ]

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/models/{model}:streamGenerateContent."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        refusal = self._refusal(request, asked, unknown=request.match_info["model"])
        if refusal is not None:
            return refusal
        events = [b"data: " + msgspec.json.encode(event) + b"\r\n\r\n" for event in _events(self.replies.next())]
        broken = b"data: " + msgspec.json.encode(_error(503)) + b"\r\n\r\n"
        return await self.stream(request, "text/event-stream", events, broken)

    async def recognize(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/speech:recognize: two results for one utterance, as for one with a pause."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        audio = base64.b64decode(asked["audio"]["content"])
        refusal = self._refusal(request, asked["config"], unknown=asked["config"]["model"], audio=audio)
        if refusal is not None:
            return refusal
        first, _, rest = self.transcripts.next().partition(" ")
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
            sound.writeframes(tone(self.tone_hz, rate_hz, self.speech_s))
        return await self._whole(request, {"audioContent": base64.b64encode(file.getvalue()).decode()})

    async def _whole(self, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        text = msgspec.json.encode(answer)
        return await self.stream(request, "application/json", [text[: len(text) // 2], text[len(text) // 2 :]], b"")

    def _refusal(
        self, request: web.Request, asked: dict[str, Any], *, unknown: str, audio: bytes = b""
    ) -> web.Response | None:
        """Google calls a bad key a bad request."""
        status = self.received(request.path, request.headers.get("x-goog-api-key", ""), asked, audio)
        status = {401: 400}.get(status, status) or (404 if unknown == UNKNOWN else 0)
        return web.json_response(_error(status), status=status) if status else None


google_fake = opened(GoogleFake)
"""Its keyword arguments are those of `GoogleFake`."""


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
