"""<Say>: the carrier's own voice."""

import asyncio

import numpy as np

from turncall_phone.journal import Spoke
from turncall_phone.twiml.grammar import Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb


async def say(text: str, leg: Leg) -> None:
    """Let the caller hear `text` to the end; the journal notes the words when they begin."""
    pcm = await asyncio.to_thread(leg.exchange.speak, text)
    leg.exchange.journal.add(Spoke(text=text, at_ms=leg.call.line.at_ms), leg.call.sid)
    await leg.call.line.play(np.frombuffer(pcm, dtype=np.int16))


async def run(verb: Element, leg: Leg) -> Step:
    """Say the text `loop` times (1 unless given, 0 for ever), in the one voice there is."""
    loop = verb.get("loop", "1")
    times = int(loop) if loop.isdigit() else 1
    said = 0
    while verb.text and (times == 0 or said < times):
        await say(verb.text, leg)
        said += 1
    return Flow.NEXT


VERB = Verb(grammar=Grammar(attributes=frozenset({"voice", "loop", "language"}), is_prose=True), run=run)
