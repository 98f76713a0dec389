"""Bodies that nobody read: taken off the wire before an early answer, so that the answer arrives.

A server that answers while the client still sends, and then closes, resets the connection; the client sees that and not
the 401 or 413 (RFC 9112, 9.6).
"""

import asyncio
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

DRAIN_BYTES: Final = 16 * 1024 * 1024
DRAIN_S: Final = 2.0
"""Beyond these the connection may be reset after all."""


def answered_in_full(app: ASGIApp) -> ASGIApp:
    """Around an application: what it left of a request's body is read and dropped before its answer is sent."""

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not _has_body(scope):
            await app(scope, receive, send)
            return
        is_read, left = False, DRAIN_BYTES

        async def received() -> ReceiveMessage:
            nonlocal is_read, left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
            is_read = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                await _drain()
            await send(message)

        async def _drain() -> None:
            try:
                async with asyncio.timeout(DRAIN_S):
                    while not is_read and left > 0:
                        await received()
            except TimeoutError:
                return

        await app(scope, received, sent)

    return reading


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])
