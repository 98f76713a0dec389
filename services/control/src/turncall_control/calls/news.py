"""Telling the followers of a call what has been stored."""

import msgspec

from turncall_bus.bus import Away, Bus
from turncall_control.calls.ledger import Appended
from turncall_proto import subjects


async def publish(bus: Bus, appended: Appended) -> None:
    """Tells the followers of each call of its new facts, numbered. Call it after the commit.

    Lossy: a follower sees a gap in ``call_seq`` and reads the facts it missed.
    """
    for call_id, facts in appended.facts.items():
        subject = subjects.live(appended.ledgers[call_id].project_id, call_id)
        for fact in facts:
            try:
                await bus.tell(subject, msgspec.json.encode(fact))
            except Away:
                return
