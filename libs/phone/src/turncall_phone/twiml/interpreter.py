"""Runs documents against a call: fetches them, falls back when one cannot be had, and goes verb by verb."""

from urllib.parse import urldefrag

import msgspec

from turncall_phone.calls import CallStatus, Instruction
from turncall_phone.journal import TwimlReceived, WebhookPurpose
from turncall_phone.notices import call_params
from turncall_phone.twiml.grammar import Element
from turncall_phone.twiml.leg import Flow, Leg
from turncall_phone.twiml.parser import Document, TwimlRefused, parse_twiml
from turncall_phone.twiml.verbs import VERBS
from turncall_phone.twiml.verbs.say import say
from turncall_phone.webhooks import Answer, WebhookFailed

APOLOGY = "We are sorry, an application error has occurred. Goodbye."
_GRAMMARS = {name: verb.grammar for name, verb in VERBS.items()}
_TWIML_TYPES = frozenset({"text/xml", "application/xml", "text/html"})


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    document: Document
    base_url: str


async def interpret(instruction: Instruction, leg: Leg) -> None:
    """Run `instruction` and whatever it leads to, until a document ends.

    When neither the document nor the fallback can be had, the caller hears an apology.
    """
    following: Instruction | None = instruction
    while following is not None:
        loaded = await _obtain(following, leg)
        if loaded is None:
            leg.answer()
            await say(APOLOGY, leg)
            return
        following = await _run(loaded, leg)


async def _run(loaded: _Loaded, leg: Leg) -> Instruction | None:
    here = msgspec.structs.replace(leg, base_url=loaded.base_url, interpret=interpret)
    for element in loaded.document.verbs:
        verb = VERBS[element.name]
        if verb.is_answered:
            leg.answer()
        step = await verb.run(element, here)
        if isinstance(step, Instruction):
            return step
        if step is Flow.END:
            return None
    # An empty document still picks the phone up before it puts it down.
    if leg.call.status is CallStatus.RINGING:
        leg.answer()
    return None


async def _obtain(instruction: Instruction, leg: Leg) -> _Loaded | None:
    try:
        return await _load(instruction, leg)
    except (WebhookFailed, TwimlRefused) as failure:
        leg.alert(failure.code, failure.detail)
        error = (("ErrorCode", str(failure.code)), ("ErrorUrl", urldefrag(instruction.url).url))
    plan = leg.call.plan
    if not plan.fallback_url:
        return None
    fallback = Instruction(url=plan.fallback_url, method=plan.fallback_method, extra=error)
    try:
        return await _load(fallback, leg, purpose="fallback")
    except (WebhookFailed, TwimlRefused) as failure:
        leg.alert(failure.code, f"fallback: {failure.detail}")
        return None


async def _load(instruction: Instruction, leg: Leg, purpose: WebhookPurpose | None = None) -> _Loaded:
    if instruction.twiml:
        return _begin(parse_twiml(instruction.twiml.encode(), _GRAMMARS), instruction.twiml, "", leg)
    params = call_params(leg.call) + instruction.extra
    hook = leg.exchange.webhook(
        leg.call, purpose or instruction.purpose, instruction.url, params, method=instruction.method
    )
    answer = await leg.exchange.webhooks.send(hook, leg.call.cookies)
    if not 200 <= answer.status < 300:
        raise WebhookFailed(11200, f"{answer.url} answered {answer.status}")
    return _begin(_read(answer), answer.body.decode("utf-8", "replace"), answer.url, leg)


def _begin(document: Document, text: str, base_url: str, leg: Leg) -> _Loaded:
    for warning in document.warnings:
        leg.alert(12200, warning)
    names = tuple(element.name for element in document.verbs)
    leg.exchange.journal.add(TwimlReceived(document=text, verbs=names), leg.call.sid)
    return _Loaded(document=document, base_url=base_url)


def _read(answer: Answer) -> Document:
    """The answer as a document: TwiML by its type, audio as a <Play> of itself, plain text as TwiML or as words."""
    kind = answer.content_type.partition(";")[0].strip().lower()
    if kind in _TWIML_TYPES:
        return parse_twiml(answer.body, _GRAMMARS)
    if kind.startswith("audio/"):
        return Document(verbs=(Element(name="Play", attributes={}, text=answer.url, children=()),))
    if kind == "text/plain":
        try:
            return parse_twiml(answer.body, _GRAMMARS)
        except TwimlRefused:
            text = " ".join(answer.body.decode("utf-8", "replace").split())
            return Document(verbs=(Element(name="Say", attributes={}, text=text, children=()),))
    raise TwimlRefused(12300, f"{answer.url} answered {answer.content_type or 'without a Content-Type'}, not TwiML")
