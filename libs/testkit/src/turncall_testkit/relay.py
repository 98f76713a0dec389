"""A TCP relay before a server's port, on which the network fails as it is told: late, silent, or cut."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024
CONNECTS_WITHIN_S: Final = 5.0
_CUT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing such a socket sends RST and drops what it has not sent."""

Port = int


class Relay:
    """``async with Relay(port) as edge``: listens on ``edge.port`` and passes bytes on to a port of this machine.

    Of several ports each new connection takes the next one that accepts it, so a relay is also the balancer before
    replicas; ``ports`` may change while it runs, and holds for new connections.

    ``latency_s`` is added to every piece on its way, in each direction. While `silence` holds, connections are accepted
    and nothing passes, as when packets are dropped; what was sent meanwhile arrives after `resume`. `cut` breaks all
    connections with a reset, and `refuse` also those that come until `resume`.
    """

    def __init__(self, *ports: Port) -> None:
        self.ports: list[Port] = list(ports)
        self.latency_s = 0.0
        self.port: Port = 0
        self._turn = 0
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_refusing = False
        self._writers: set[StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def silence(self) -> None:
        """From here nothing passes, and nobody is told."""
        self._passes.clear()

    def refuse(self) -> None:
        """Resets all connections, and each new one at once."""
        self._is_refusing = True
        self.cut()

    def cut(self) -> None:
        """Resets all connections; new ones are served."""
        for writer in tuple(self._writers):
            _reset(writer)

    def resume(self) -> None:
        """Passes everything again; a latency stays."""
        self._is_refusing = False
        self._passes.set()

    async def _take(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, from its first byte until both sides are closed."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            return  # the relay is closing; the server's own callback would report a cancelled handler as an error
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._is_refusing:
            return _reset(writer)
        await self._passes.wait()
        beyond = await self._connected()
        if beyond is None:
            return _reset(writer)
        far_reader, far_writer = beyond
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, far_writer))
                both.create_task(self._pass_on(far_reader, writer))
        finally:
            self._writers.discard(far_writer)
            far_writer.close()

    async def _connected(self) -> tuple[StreamReader, StreamWriter] | None:
        for port in self._next_ports():
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECTS_WITHIN_S):
                    return await asyncio.open_connection(HOST, port)
        return None

    def _next_ports(self) -> Iterable[Port]:
        if not self.ports:
            return ()
        self._turn = (self._turn + 1) % len(self.ports)
        return self.ports[self._turn :] + self.ports[: self._turn]

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One direction, until its source ends; a half that is closed closes the same half beyond."""
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):  # the other direction may have been reset meanwhile
            writer.write_eof()


def _reset(writer: StreamWriter) -> None:
    """Closes with RST, so that the peer's next read or write fails at once."""
    peer = writer.get_extra_info("socket")
    with suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CUT)
    writer.transport.abort()
