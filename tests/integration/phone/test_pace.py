"""Many calls at once, on one beat."""

import asyncio
import time

from turncall_phone import Carrier, HangUp, Pause
from turncall_phone.journal import StreamClosed

NUMBER, PERSON = "+15550100001", "+15550177777"
CALLS, SECONDS = 20, 2.0


async def test_twenty_calls_keep_pace_on_half_a_core(carrier: Carrier, customer) -> None:
    """20 echoing calls lose no frame and take less than half a core, their customer included."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect()))
    script = [Pause(length_s=SECONDS), HangUp()]
    cpu_s = time.process_time()

    calls = [await carrier.dial(to=NUMBER, from_=PERSON, script=script) for _ in range(CALLS)]
    await asyncio.gather(*(call.settled(timeout_s=20) for call in calls))

    busy = (time.process_time() - cpu_s) / SECONDS
    closed = carrier.journal.facts(StreamClosed)
    assert len(closed) == CALLS
    assert all(c.frames_dropped == 0 and c.frames_sent >= 50 * SECONDS - 10 for c in closed)
    assert busy < 0.5
