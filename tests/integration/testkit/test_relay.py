"""The relay fails as the network does, so that what is measured behind it is the client and not the relay."""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from turncall_testkit.relay import HOST, Relay


@asynccontextmanager
async def _echo(prefix: bytes = b"") -> AsyncIterator[int]:
    """A server that sends back each line behind ``prefix``; gives its port."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(prefix + line)
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


class _Client:
    """One connection to a relay."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: bytes) -> bytes:
        self.writer.write(line)
        async with asyncio.timeout(5.0):
            return await self.reader.readline()


@asynccontextmanager
async def _client(relay: Relay) -> AsyncIterator[_Client]:
    reader, writer = await asyncio.open_connection(HOST, relay.port)
    yield _Client(reader, writer)
    writer.close()


async def test_what_is_sent_comes_back() -> None:
    """Bytes pass both ways, and the end of one side ends the other."""
    async with _echo() as port, Relay(port) as edge, _client(edge) as client:
        assert await client.ask(b"hello\n") == b"hello\n"
        client.writer.write_eof()
        assert await client.reader.read() == b""


async def test_latency_is_added_in_each_direction() -> None:
    """A question and its answer take twice the latency at least."""
    async with _echo() as port, Relay(port) as edge, _client(edge) as client:
        edge.latency_s = 0.1
        since_s = time.monotonic()
        assert await client.ask(b"late\n") == b"late\n"
        assert time.monotonic() - since_s >= 0.2


async def test_nothing_passes_in_silence_and_everything_after_it() -> None:
    """A silent network holds what was sent, tells nobody, and new connections hang."""
    async with _echo() as port, Relay(port) as edge, _client(edge) as client:
        assert await client.ask(b"before\n") == b"before\n"
        edge.silence()
        waiting = asyncio.create_task(client.ask(b"during\n"))
        async with _client(edge) as late:
            new = asyncio.create_task(late.ask(b"new\n"))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            assert not new.done()
            edge.resume()
            assert await waiting == b"during\n"
            assert await new == b"new\n"


async def test_a_cut_connection_is_reset_and_the_next_one_served() -> None:
    """Both ends of a cut connection learn of it at once."""
    async with _echo() as port, Relay(port) as edge:
        async with _client(edge) as client:
            assert await client.ask(b"before\n") == b"before\n"
            edge.cut()
            with pytest.raises(ConnectionResetError):
                await client.ask(b"after\n")
        async with _client(edge) as again:
            assert await again.ask(b"again\n") == b"again\n"


async def test_a_refusing_relay_resets_until_it_resumes() -> None:
    """While it refuses, each connection is reset before a byte passes."""
    async with _echo() as port, Relay(port) as edge:
        edge.refuse()
        async with _client(edge) as client:
            with pytest.raises(ConnectionResetError):
                await client.ask(b"refused\n")
        edge.resume()
        async with _client(edge) as again:
            assert await again.ask(b"again\n") == b"again\n"


async def test_connections_take_turns_and_pass_over_a_port_that_is_closed() -> None:
    """Before two replicas each gets its share; one that is gone gets none, and nobody notices."""
    async with _echo(b"b ") as second, Relay() as edge:
        async with _echo(b"a ") as first:
            edge.ports = [first, second]
            assert {await _once(edge) for _ in range(4)} == {b"a x\n", b"b x\n"}
        assert {await _once(edge) for _ in range(4)} == {b"b x\n"}


async def _once(edge: Relay) -> bytes:
    async with _client(edge) as client:
        return await client.ask(b"x\n")
