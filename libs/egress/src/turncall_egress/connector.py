"""The wall inside an aiohttp connector: our own client's, or that of an SDK which takes a connector's arguments."""

import socket
from functools import partial
from typing import TypedDict

from aiohappyeyeballs import AddrInfoType
from aiohttp import SocketFactoryType
from aiohttp.abc import AbstractResolver, ResolveResult

from turncall_egress.wall import Wall


class WalledConnector(TypedDict):
    """Arguments of `aiohttp.TCPConnector` that let it connect where the wall does, and nowhere else."""

    resolver: AbstractResolver
    use_dns_cache: bool
    socket_factory: SocketFactoryType


def walled_connector(wall: Wall) -> WalledConnector:
    """Names are resolved by the wall; what is written as an address is checked when its socket is made.

    What the wall refuses rises out of the connector as `Refused`, or as what an SDK makes of it.
    """
    return WalledConnector(
        resolver=_WalledResolver(wall), use_dns_cache=False, socket_factory=partial(_checked_socket, wall)
    )


class _WalledResolver(AbstractResolver):
    def __init__(self, wall: Wall) -> None:
        self._wall = wall

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Checked addresses only, which aiohttp then connects to."""
        return [_result(host, port, address) for address in await self._wall.addresses(host)]

    async def close(self) -> None:
        """Nothing is held."""


def _checked_socket(wall: Wall, where: AddrInfoType) -> socket.socket:
    """The last gate: aiohttp asks for a socket to exactly this address, resolved or written in the URL."""
    family, kind, protocol, _, address = where
    wall.check(str(address[0]), "the URL")
    return socket.socket(family, kind, protocol)


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)
