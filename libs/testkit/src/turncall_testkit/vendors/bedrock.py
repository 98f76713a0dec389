"""Amazon Bedrock's runtime as its streaming clients see it: model/{id}/converse-stream, in AWS's event stream."""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.eventstream import framed
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS, Reply, words
from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened

_TOLD = {
    400: ("ValidationException", "The provided model identifier is invalid."),
    403: ("AccessDeniedException", "Authentication failed: please make sure your API key is valid."),
    500: ("InternalServerException", "The system encountered an unexpected error."),
}


class BedrockFake(Desk):
    """Knows every model but `UNKNOWN`."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.post("/model/{model}/converse-stream", self.converse)]

    async def converse(self, request: web.Request) -> web.StreamResponse:
        """POST /model/{model}/converse-stream."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        status = self.received(request.path, key, asked)
        status = {401: 403}.get(status, status) or (400 if request.match_info["model"] == UNKNOWN else 0)
        if status:
            kind, message = _TOLD[status]
            return web.json_response({"message": message}, status=status, headers={"x-amzn-ErrorType": kind})
        events = [framed("event", name, fields) for name, fields in _events(self.replies.next())]
        broken = framed("exception", "modelStreamErrorException", {"message": "The model failed."})
        return await self.stream(request, "application/vnd.amazon.eventstream", events, broken)


bedrock_fake = opened(BedrockFake)
"""Its keyword arguments are those of `BedrockFake`."""


def _events(reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    index = 0
    for word in words(reply.text):
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}
    if reply.text:
        yield "contentBlockStop", {"contentBlockIndex": 0}
        index = 1
    for number, call in enumerate(reply.calls, start=index):
        tool = {"toolUseId": f"tooluse_{number}", "name": call.name}
        yield "contentBlockStart", {"contentBlockIndex": number, "start": {"toolUse": tool}}
        for piece in call.pieces():
            yield "contentBlockDelta", {"contentBlockIndex": number, "delta": {"toolUse": {"input": piece}}}
        yield "contentBlockStop", {"contentBlockIndex": number}
    yield "messageStop", {"stopReason": "tool_use" if reply.calls else "end_turn"}
    usage = {"inputTokens": INPUT_TOKENS, "outputTokens": OUTPUT_TOKENS, "totalTokens": INPUT_TOKENS + OUTPUT_TOKENS}
    yield "metadata", {"usage": usage, "metrics": {"latencyMs": 1}}
