"""<Reject>: as the first verb, an inbound call ends unanswered."""

from turncall_phone.calls import CallStatus
from turncall_phone.notices import SIP_CODES
from turncall_phone.twiml.grammar import Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb


async def run(verb: Element, leg: Leg) -> Step:
    """End with `busy` or, for the default reason, `no-answer`; a call that was answered just ends."""
    if leg.call.status is CallStatus.RINGING:
        status = CallStatus.BUSY if verb.get("reason") == "busy" else CallStatus.NO_ANSWER
        leg.call.sip_code = SIP_CODES[status]
        leg.call.enter(status)
    return Flow.END


VERB = Verb(
    grammar=Grammar(attributes=frozenset({"reason"}), values={"reason": frozenset({"rejected", "busy"})}),
    run=run,
    is_answered=False,
)
