"""Clears the spool: asks control which ended epochs are safe in its database, and repeats what it has not seen."""

import asyncio
import random
from collections.abc import Callable
from itertools import batched
from typing import Final

from turncall_bus.bus import Away, Bus, NoAnswer, NobodyListens
from turncall_bus.spool import Spool
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.command import SettlementAnswered, SettlementAsked
from turncall_proto.ids import CallId
from turncall_proto.subjects import act

EVERY_S: Final = 3.0
ANSWER_WITHIN_S: Final = 5.0
AT_ONCE: Final = 200
"""Epochs in one question; a thousand calls' worth of spool still fits small messages."""


async def settle(spool: Spool, bus: Bus, is_live: Callable[[CallId, int], bool]) -> None:
    """One round over all ended epochs on disk, those of earlier processes included.

    Without a control plane that answers in words we know nothing changes: the facts stay on disk, where
    ``turncall_media_spooled_epochs`` shows them, and the next round asks again.
    """
    ended = [epoch for epoch in spool.epochs() if not is_live(epoch.call_id, epoch.epoch)]
    for batch in batched(ended, AT_ONCE):
        asked = encode(SettlementAsked(epochs=batch))
        try:
            answer = await bus.ask(act("settlement"), asked, timeout_s=ANSWER_WITHIN_S)
            answered = decode(answer, SettlementAnswered)
        except (Away, NobodyListens, NoAnswer, MalformedMessage):
            return
        for missing in answered.missing:
            spool.again(missing.call_id, missing.epoch, missing.seqs)
        spool.settle(answered.settled)


async def keep_settling(spool: Spool, bus: Bus, is_live: Callable[[CallId, int], bool]) -> None:
    """Runs `settle` every `EVERY_S`, spread so that workers do not ask in step, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2))
        await settle(spool, bus, is_live)
