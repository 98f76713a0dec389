"""Google's HTTP APIs as their clients see them: Gemini's streamGenerateContent."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Replies, Reply, words
from turncall_testkit.vendors.serving import UNKNOWN, Desk, serving

_TOLD = {
    400: ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    404: ("NOT_FOUND", "models/nobody is not found for API version v1"),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


class GoogleFake(Desk):
    """Answers with ``replies`` in turn, the last one ever after. Takes any key, or only ``key`` if given; knows every
    model but `UNKNOWN`."""

    def __init__(
        self, *, replies: Sequence[Reply] = (Reply(text="Hello there. How can I help you?"),), key: str = ""
    ) -> None:
        super().__init__(key)
        self._replies = Replies(replies)

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

    def _refusal(self, request: web.Request, asked: dict[str, Any], *, unknown: str) -> web.Response | None:
        """Google calls a bad key a bad request."""
        status = self.received(request, request.headers.get("x-goog-api-key", ""), asked)
        status = {401: 400}.get(status, status) or (404 if unknown == UNKNOWN else 0)
        return web.json_response(_error(status), status=status) if status else None


@asynccontextmanager
async def google_fake(**answers: Any) -> AsyncIterator[GoogleFake]:
    """The fake on loopback. ``answers`` are the keyword arguments of `GoogleFake`."""
    fake = GoogleFake(**answers)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/models/{model}:streamGenerateContent", fake.generate)
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
