"""<Redirect>: another document takes over."""

from turncall_phone.calls import Instruction
from turncall_phone.twiml.grammar import METHODS, Element, Grammar
from turncall_phone.twiml.leg import Leg, Step, Verb


async def run(verb: Element, leg: Leg) -> Step:
    """Go on with the document at the URL in the text; without one, with this document again."""
    return Instruction(url=leg.resolve(verb.text), method=verb.get("method", "POST"), purpose="redirect")


VERB = Verb(grammar=Grammar(attributes=frozenset({"method"}), values={"method": METHODS}), run=run, is_answered=False)
