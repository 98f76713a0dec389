"""<Hangup>: the document ends, and the call with it."""

from turncall_phone.twiml.grammar import Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb


async def run(_verb: Element, _leg: Leg) -> Step:
    """End the document."""
    return Flow.END


VERB = Verb(grammar=Grammar(), run=run)
