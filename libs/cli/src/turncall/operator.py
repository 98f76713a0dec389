"""Which installation an operator's verb speaks to, and with which platform key."""

import argparse
from pathlib import Path

from turncall import local
from turncall.client import TurnCall


def declare(parser: argparse.ArgumentParser) -> None:
    """The options that name the installation."""
    parser.add_argument("--url", help="the control plane; the installation of --folder unless given")
    parser.add_argument("--platform-key-file", type=Path, help="a file that holds its platform key")


def client(options: argparse.Namespace, folder: Path) -> TurnCall:
    """A client with the platform key of what ``declare`` took. Raises `NotRunning`."""
    if options.url is None:
        state = local.found(folder)
        return TurnCall(state.control_url, platform_key=state.platform_key)
    key: Path | None = options.platform_key_file
    return TurnCall(options.url, platform_key=key.read_text().strip() if key is not None else "")
