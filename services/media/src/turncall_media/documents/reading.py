"""Having a file read by a process of its own, whose end is told by name."""

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from turncall_media.documents.blocks import Block, Format, Unreadable
from turncall_media.documents.reader import Verdict

SILENT_AT_MOST_S: Final = 60.0
"""Without a line of it, on a machine that has no time for it; its CPU is measured in there."""
LONGEST_LINE: Final = 8 * 1024 * 1024

_LINE: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Text(Struct, frozen=True, kw_only=True):
    """What a file holds."""

    format: Format
    blocks: tuple[Block, ...]


async def read(data: bytes, name: str, content_type: str) -> Text:
    """The text of a file. Raises `Unreadable`. Cancelled, it leaves no process behind."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "turncall_media.documents.reader", name, content_type),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
        limit=LONGEST_LINE,
    )
    try:
        feeding = asyncio.create_task(_feed(process, data))
        try:
            blocks, verdict = await _taken(process)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        if verdict is None:
            raise _ended(await process.wait())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if verdict.reason is not None or verdict.format is None:
        raise Unreadable(verdict.reason or "corrupt", verdict.detail)
    return Text(format=verdict.format, blocks=tuple(blocks))


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None  # it is a pipe
    with suppress(BrokenPipeError, ConnectionResetError):  # it has ended, and says why
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()


async def _taken(process: asyncio.subprocess.Process) -> tuple[list[Block], Verdict | None]:
    assert process.stdout is not None  # it is a pipe
    blocks: list[Block] = []
    while True:
        try:
            async with asyncio.timeout(SILENT_AT_MOST_S):
                line = await process.stdout.readline()
        except (TimeoutError, ValueError) as error:  # ValueError: a line without end
            raise Unreadable("too_slow", "Reading it takes too long") from error
        if not line.endswith(b"\n"):
            return blocks, None
        if b'"text"' in line and "text" in _LINE.decode(line):
            blocks.append(msgspec.json.decode(line, type=Block))
        else:
            return blocks, msgspec.json.decode(line, type=Verdict)


def _ended(returncode: int) -> Unreadable:
    """Why the process is gone without a word."""
    if -returncode in (signal.SIGPROF, signal.SIGXCPU):
        return Unreadable("too_slow", "Reading it takes too long")
    if -returncode in (signal.SIGKILL, signal.SIGABRT):
        return Unreadable("too_large", "Reading it takes too much memory")
    return Unreadable("corrupt", "It cannot be parsed")
