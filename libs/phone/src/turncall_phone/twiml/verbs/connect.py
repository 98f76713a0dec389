"""<Connect><Stream>: the call's audio goes to a socket until that ends."""

from turncall_phone.calls import Instruction
from turncall_phone.faults import LossFault
from turncall_phone.handshake import HandshakeFailed, open_socket
from turncall_phone.notices import stream_params
from turncall_phone.sids import new_sid
from turncall_phone.stream import MediaStream, StreamPlan
from turncall_phone.twiml.grammar import METHODS, Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb

MAX_PARAMETER_CHARS = 500

_PARAMETER = Grammar(attributes=frozenset({"name", "value"}))
_STREAM = Grammar(
    attributes=frozenset({"url", "name", "track", "statusCallback", "statusCallbackMethod", "connectorName"}),
    values={"statusCallbackMethod": METHODS},
    children={"Parameter": _PARAMETER},
)


async def run(verb: Element, leg: Leg) -> Step:
    """Hold the stream; when it ends by itself ask `action`, or go on with the next verb when there is none.

    While it runs the `action` is known to the call, which asks it with a final status if it ends meanwhile.
    """
    action = _action(verb, leg)
    if not verb.children:
        leg.alert(12200, "<Connect> holds no <Stream>")
        return action or Flow.NEXT
    leg.call.running_action = action
    if not await _stream(verb.children[0], leg):
        # The fault of a carrier that never goes on: the caller hears nothing until somebody updates the call.
        await leg.call.line.until(lambda: False)
    leg.call.running_action = None
    return action or Flow.NEXT


def _action(verb: Element, leg: Leg) -> Instruction | None:
    url = verb.get("action")
    if not url:
        return None
    return Instruction(url=leg.resolve(url), method=verb.get("method", "POST"), purpose="action")


async def _stream(noun: Element, leg: Leg) -> bool:
    """Carry the call over the socket; False when a fault makes the carrier not go on afterwards."""
    sid, name = new_sid("MZ"), noun.get("name")

    def tell(event: str, error: str = "") -> None:
        callback = noun.get("statusCallback")
        if callback:
            params = stream_params(leg.call, sid, name, event, leg.exchange.now(), error)
            method = noun.get("statusCallbackMethod", "POST")
            hook = leg.exchange.webhook(leg.call, "stream-status", callback, params, method=method)
            leg.exchange.report(leg.call, hook, event)

    try:
        if noun.get("track", "inbound_track") != "inbound_track":
            raise HandshakeFailed(31941, f"track {noun.get('track')!r}: <Connect> knows inbound_track only")
        plan = StreamPlan(stream_sid=sid, url=noun.get("url"), parameters=_parameters(noun, leg))
        socket = await open_socket(plan.url, leg.call, leg.exchange)
    except HandshakeFailed as failure:
        leg.alert(failure.code, failure.detail)
        tell("stream-error", f"{failure.code} - {failure.detail}")
        return True
    tell("stream-started")
    ended_by = "carrier"
    fault: LossFault | None = None
    try:
        ended_by = await MediaStream(socket, plan, leg.call, leg.exchange.journal, leg.exchange.faults).run()
        fault = leg.exchange.faults.strike(LossFault, lambda _: True, leg.call.sid)
    finally:
        if fault is None or fault.effect != "unnoticed":
            if ended_by == "loss":
                tell("stream-error", "31903 - the connection broke")
            tell("stream-stopped")
    return fault is None


def _parameters(noun: Element, leg: Leg) -> tuple[tuple[str, str], ...]:
    """The custom parameters; those over 500 characters or without a name are left out with a warning."""
    kept: list[tuple[str, str]] = []
    for child in noun.children:
        name, value = child.get("name"), child.get("value")
        if name and len(name) + len(value) < MAX_PARAMETER_CHARS:
            kept.append((name, value))
        else:
            leg.alert(12200, f"<Parameter name={name!r}> has no name or {len(name) + len(value)} characters: left out")
    return tuple(kept)


VERB = Verb(
    grammar=Grammar(
        attributes=frozenset({"action", "method"}), values={"method": METHODS}, children={"Stream": _STREAM}
    ),
    run=run,
)
