"""The process that parses one file: ``python -I -m turncall_media.documents.reader NAME CONTENT_TYPE``.

The file comes on its standard input; its blocks go out as lines of JSON, and last of all a `Verdict`. Whatever a file
does to its parser, it does it here: memory, CPU and files are limited before the first byte is parsed, and a parser
that does not get on for `STEP_WITHIN_S` of CPU is ended by the kernel.
"""

import os
import resource
import signal
import sys
from importlib import import_module
from typing import Final, cast

from msgspec import Struct, json

from turncall_media.documents.blocks import Block, Format, FormatModule, Reason, Unreadable
from turncall_media.documents.recognition import format_of

LARGEST_MEMORY: Final = 512 * 1024 * 1024
"""Of addresses, the interpreter's own 150 MiB included."""
STEP_WITHIN_S: Final = 3.0
"""Of CPU, for a page or a paragraph, or for opening the file."""
ALL_WITHIN_S: Final = 60
MOST_CHARACTERS: Final = 2_000_000
BLOCK_CHARACTERS: Final = 40
"""What a paragraph counts for besides its text: a million of one letter each are too many as well."""
NICE: Final = 5


class Verdict(Struct, frozen=True, kw_only=True):
    """How it went. ``format`` is None when it was never recognised; ``reason`` when the file was read."""

    format: Format | None = None
    reason: Reason | None = None
    detail: str = ""


def limit() -> None:
    """Takes from this process what parsing does not need."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY, LARGEST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (ALL_WITHIN_S, ALL_WITHIN_S + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    progressed()


def progressed() -> None:
    """The next step may take its time anew."""
    signal.setitimer(signal.ITIMER_PROF, STEP_WITHIN_S)


def read(data: bytes, name: str, content_type: str) -> Verdict:
    """Writes the blocks of a file out; how it went."""
    known: Format | None = None
    try:
        known = format_of(data, name, content_type)
        module = cast(FormatModule, import_module(f"turncall_media.documents.formats.{known}"))
        characters = 0
        for block in module.blocks(data, progressed):
            text = block.text.replace("\0", "").strip()
            if not text:
                continue
            characters += len(text) + BLOCK_CHARACTERS
            if characters > MOST_CHARACTERS:
                raise Unreadable("too_large", f"Its text is too long: {MOST_CHARACTERS} characters are the most")
            _write(Block(text=text, level=block.level, page=block.page))
        if not characters:
            raise Unreadable("no_text", "There is no text in it; a scan must be recognised first")
    except Unreadable as error:
        return Verdict(format=known, reason=error.reason, detail=str(error))
    except MemoryError:
        return Verdict(format=known, reason="too_large", detail="Reading it takes too much memory")
    except Exception as error:  # noqa: BLE001 - the boundary of the process: a parser may fail in any way
        return Verdict(format=known, reason="corrupt", detail=f"It cannot be parsed ({type(error).__name__})")
    return Verdict(format=known)


def _write(line: Block | Verdict) -> None:
    sys.stdout.buffer.write(json.encode(line) + b"\n")


if __name__ == "__main__":
    limit()
    _write(read(sys.stdin.buffer.read(), *sys.argv[1:3]))
