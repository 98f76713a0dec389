"""Bedrock's streamed conversations over HTTP, with a Bedrock API key or requests that an access key signs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx2
import msgspec
from botocore.eventstream import EventStreamBuffer

from turncall_media.answers import Arguments
from turncall_media.stages import web

_FAULTS: Final = ("exception", "error")


class BedrockFailed(Exception):
    """Bedrock refused or gave up. ``status_code`` is HTTP's, or what HTTP would have said in place of an event."""

    def __init__(self, kind: str, message: str, status_code: int) -> None:
        super().__init__(f"{kind}: {message}")
        self.status_code = status_code


class Converse:
    """The one operation of botocore's client that Pipecat's service uses, on connections that stay open.

    botocore's own client takes a third of a second to make, and Pipecat makes one for each answer.
    """

    def __init__(
        self, server: str, authority: Callable[[str, bytes], dict[str, str]], http: httpx2.AsyncClient
    ) -> None:
        self._server = server
        self._authority = authority
        self._http = http

    @asynccontextmanager
    async def create_client(self, **_: object) -> AsyncIterator["Converse"]:
        """Itself: it is opened and closed with the call."""
        yield self

    async def converse_stream(self, **asked: Any) -> dict[str, AsyncIterator[dict[str, Any]]]:
        """``{"stream": events}``, each ``{name: fields}``. Raises `BedrockFailed`, `Stalled`, `NoAnswer`."""
        body = msgspec.json.encode({name: value for name, value in asked.items() if name != "modelId"})
        url = f"{self._server}/model/{quote(asked['modelId'], safe='')}/converse-stream"
        request = self._http.build_request("POST", url, content=body, headers=self._authority(url, body))
        return {"stream": web.told(self._events(request))}

    async def _events(self, request: httpx2.Request) -> AsyncIterator[dict[str, Any]]:
        answer = await self._http.send(request, stream=True)
        try:
            if answer.status_code != httpx2.codes.OK:
                kind = answer.headers.get("x-amzn-ErrorType", "").partition(":")[0]
                raise BedrockFailed(kind or "HTTP error", (await answer.aread()).decode()[:300], answer.status_code)
            buffer, arguments = EventStreamBuffer(), Arguments()
            async for piece in answer.aiter_bytes():
                buffer.add_data(piece)
                for event in buffer:
                    known = _parsed(event.headers, event.payload)
                    block = known.get("contentBlockDelta", {})
                    if "toolUse" in block.get("delta", {}):
                        arguments.add(block["contentBlockIndex"], block["delta"]["toolUse"].get("input", ""))
                    yield known
            arguments.check(may_be_missing=True)
        finally:
            await answer.aclose()


def _parsed(headers: dict[str, Any], payload: bytes) -> dict[str, Any]:
    fields = msgspec.json.decode(payload, type=dict[str, Any])
    if headers[":message-type"] in _FAULTS:
        kind = headers.get(":exception-type") or headers.get(":error-code") or "error"
        status = 429 if kind == "throttlingException" else 400 if kind == "validationException" else 500
        raise BedrockFailed(kind, str(fields.get("message", "")), status)
    return {headers[":event-type"]: fields}
