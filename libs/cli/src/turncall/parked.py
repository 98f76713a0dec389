"""``turncall parked``: messages that no consumer could take, listed, put back into their streams, or dropped."""

import argparse
from collections.abc import AsyncIterator, Callable
from itertools import batched
from pathlib import Path
from typing import Final

from turncall import operator
from turncall.client import TurnCall
from turncall.client.shapes import ParkedView
from turncall.columns import columns

AT_ONCE: Final = 200
DONE: Final = {"replay": "is in its stream again", "drop": "is dropped"}
HEADINGS = ("ID", "PARKED", "STREAM", "CONSUMER", "BYTES", "SUBJECT", "ERROR")


def declare(parser: argparse.ArgumentParser) -> None:
    """The verb's own verbs and options."""
    operator.declare(parser)
    verbs = parser.add_subparsers(dest="parked_verb", required=True)
    verbs.add_parser("list", help="what lies there, since when, and why")
    for verb, does in (("replay", "put messages back, for their consumers to try again"), ("drop", "forget them")):
        chosen = verbs.add_parser(verb, help=does).add_mutually_exclusive_group(required=True)
        chosen.add_argument("id", nargs="*", type=int, default=[], help="as listed")
        chosen.add_argument("--all", action="store_true", help="every one that lies there now")


async def run(options: argparse.Namespace, folder: Path, tell: Callable[[str], None]) -> int:
    """Carries out one verb; its exit code. Raises `NotRunning` and what the client raises."""
    async with operator.client(options, folder) as api:
        await carry_out(api, options, tell)
    return 0


async def carry_out(api: TurnCall, options: argparse.Namespace, tell: Callable[[str], None]) -> None:
    """One verb, with the operator's client. Raises what the client raises."""
    if options.parked_verb == "list":
        rows = [_row(message) async for message in _every(api)]
        for line in columns([HEADINGS, *rows]) if rows else ["no message is parked"]:
            tell(line)
        return
    ids = [message.id async for message in _every(api)] if options.all else options.id
    act = api.replay_parked_messages if options.parked_verb == "replay" else api.drop_parked_messages
    for some in batched(ids, AT_ONCE):
        outcome = await act(some)
        for message_id in outcome.done:
            tell(f"{message_id} {DONE[options.parked_verb]}")
        for message_id in outcome.gone:
            tell(f"{message_id} was not parked")


async def _every(api: TurnCall) -> AsyncIterator[ParkedView]:
    after: int | None = 0
    while after is not None:
        page = await api.parked_messages(after=after)
        for message in page.items:
            yield message
        after = page.next_after


def _row(message: ParkedView) -> tuple[str, ...]:
    since = f"{message.parked_at:%Y-%m-%d %H:%M:%S}" if message.parked_at else "-"
    size = str(message.size_bytes)
    return str(message.id), since, message.stream, message.consumer, size, message.subject, message.error
