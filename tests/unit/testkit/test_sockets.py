"""Unit tests open no socket."""

import asyncio
import socket

import pytest

from turncall_testkit.sockets import SocketRefused


def test_connecting_and_binding_are_refused() -> None:
    """Whatever a unit test does towards the network fails in its own line."""
    with socket.socket() as one, pytest.raises(SocketRefused, match="connect"):
        one.connect(("127.0.0.1", 9))
    with socket.socket() as one, pytest.raises(SocketRefused, match="bind"):
        one.bind(("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(SocketRefused, match="sendto"):
        one.sendto(b"x", ("127.0.0.1", 9))
    with pytest.raises(SocketRefused, match="getaddrinfo"):
        socket.getaddrinfo("localhost", 80)


async def test_clients_and_servers_of_the_loop_are_refused() -> None:
    """The loop's own ways to the network are the same ways."""
    with pytest.raises(SocketRefused):
        await asyncio.open_connection("127.0.0.1", 9)
    with pytest.raises(SocketRefused):
        await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)


async def test_a_loop_may_still_wake_itself() -> None:
    """Threads and socket pairs work: they reach nobody."""
    assert await asyncio.to_thread(lambda: 2 + 2) == 4
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"x")
        assert far.recv(1) == b"x"
