"""Anthropic's HTTP API as its streaming client sees it: v1/messages."""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Reply, words
from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened

_TOLD = {
    401: ("authentication_error", "invalid x-api-key"),
    404: ("not_found_error", "model: nobody"),
    500: ("api_error", "Internal server error"),
}


class AnthropicFake(Desk):
    """Knows every model but `UNKNOWN`."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.post("/v1/messages", self.messages)]

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/messages, streamed only."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        key = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key", "")
        status = self.received(request.path, key, asked)
        status = status or (404 if asked["model"] == UNKNOWN else 0)
        if status:
            return web.json_response(_error(*_TOLD[status]), status=status)
        events = [_event(event) for event in _events(self.replies.next())]
        broken = _event(_error("overloaded_error", "Overloaded"))
        return await self.stream(request, "text/event-stream", events, broken)


anthropic_fake = opened(AnthropicFake)
"""Its keyword arguments are those of `AnthropicFake`."""


def _event(fields: dict[str, Any]) -> bytes:
    return f"event: {fields['type']}\n".encode() + b"data: " + msgspec.json.encode(fields) + b"\n\n"


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _events(reply: Reply) -> Iterator[dict[str, Any]]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "fake-1"}
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": 1}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if reply.text:
        blocks.append(
            ({"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in words(reply.text)])
        )
    for number, call in enumerate(reply.calls):
        head = {"type": "tool_use", "id": f"toolu_{number}", "name": call.name, "input": {}}
        blocks.append((head, [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces()]))
    for index, (head, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": head}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": OUTPUT_TOKENS}}
    yield {"type": "message_stop"}
