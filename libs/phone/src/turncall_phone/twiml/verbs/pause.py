"""<Pause>: silence; as the first verb the phone goes on ringing meanwhile."""

from turncall_phone.clock import sleep
from turncall_phone.twiml.grammar import Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb


async def run(verb: Element, leg: Leg) -> Step:
    """Wait `length` seconds (1 unless given); a length that is no number counts as 1, with a warning."""
    length = verb.get("length", "1")
    if not length.isdigit():
        leg.alert(12200, f"<Pause length={length!r}> is not a number of seconds: 1 is taken")
        length = "1"
    await sleep(leg.exchange.clock, int(length))
    return Flow.NEXT


VERB = Verb(grammar=Grammar(attributes=frozenset({"length"})), run=run, is_answered=False)
