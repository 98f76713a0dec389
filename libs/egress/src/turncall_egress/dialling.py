"""Connecting to a checked address of a host, for transports that open their own connections."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from turncall_egress.wall import Wall

CONNECTIONS: Final = 100
IDLE_CONNECTIONS: Final = 20
IDLE_S: Final = 60.0
"""A pause between two turns of a conversation should not cost a TLS handshake."""


async def dial[StreamT](
    wall: Wall,
    host: str,
    timeout_s: float | None,
    connect: Callable[[str], Awaitable[StreamT]],
    unreachable: tuple[type[Exception], ...],
) -> StreamT:
    """The stream that ``connect`` opens to the first address of ``host`` that is not ``unreachable``.

    The name is resolved once, here, and every address of it is checked. Raises `Refused`, `Failed`, `TimeoutError` for
    a slow name server, and the last address's failure.
    """
    async with asyncio.timeout(timeout_s):
        *others, last = await wall.addresses(host)
    for address in others:
        try:
            return await connect(address)
        except unreachable:
            continue  # a machine without IPv6 gets both kinds of address all the same
    return await connect(last)
