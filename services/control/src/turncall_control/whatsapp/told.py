"""What WhatsApp's webhooks say of a call, read loosely: captures lack fields that the documentation has."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from turncall_control.calls.ringing import Ringing
from turncall_control.carriers import whatsapp
from turncall_control.carriers.accounts import Proof

MAX_ID_LENGTH: Final = 256
LONGEST_S: Final = 7 * 24 * 3600
_PHASES: Final = {"RINGING": "ringing", "ACCEPTED": "in-progress", "REJECTED": "busy"}
_DECLINED: Final = 603
"""What a phone answers that turns a call away (RFC 3261, 21.6.2)."""

Event = Literal["connect", "terminate", "status"]


class CallTold(Struct, frozen=True, kw_only=True):
    """One statement about a call. ``status`` is what calls keep of it, in the words that all carriers have here.

    ``person`` and ``number`` are in E.164. ``reference`` is what was given to WhatsApp with a call of ours.
    """

    event: Event
    proof: Proof
    provider_call_id: str
    person: str
    number: str
    is_ours: bool = False
    sdp: str = ""
    status: str = ""
    sip_code: int | None = None
    duration_s: int | None = None
    reference: str = ""


def call(proof: Proof, number: str, told: object) -> CallTold | None:
    """An entry of ``value.calls``; None when it has another shape. ``number`` is the sender's own."""
    found = told if isinstance(told, dict) else {}
    event, call_id, sender = found.get("event"), found.get("id"), found.get("from")
    if event not in ("connect", "terminate") or not _is_id(call_id) or not isinstance(sender, str):
        return None
    is_ours = found.get("direction") == "BUSINESS_INITIATED" or e164(sender) == number
    person = e164(str(found.get("to") or "")) if is_ours else e164(sender)
    duration_s = found.get("duration")
    is_number = isinstance(duration_s, int) and not isinstance(duration_s, bool) and 0 <= duration_s <= LONGEST_S
    return CallTold(
        event=event,
        proof=proof,
        provider_call_id=str(call_id),
        person=person,
        number=number,
        is_ours=is_ours,
        sdp=_sdp(found),
        status=_end(found) if event == "terminate" else "",
        duration_s=duration_s if is_number else None,
        reference=_reference(found),
    )


def status(proof: Proof, number: str, told: object) -> CallTold | None:
    """An entry of ``value.statuses`` that is about a call of ours; None when it is none."""
    found = told if isinstance(told, dict) else {}
    said = found.get("status")
    if not _is_id(found.get("id")) or not isinstance(said, str) or said not in _PHASES:
        return None
    return CallTold(
        event="status",
        proof=proof,
        provider_call_id=found["id"],
        person=e164(str(found.get("recipient_id") or "")),
        number=number,
        is_ours=True,
        status=_PHASES[said],
        sip_code=_DECLINED if said == "REJECTED" else None,
        reference=_reference(found),
    )


def e164(number: str) -> str:
    """WhatsApp writes numbers without the plus."""
    return "+" + "".join(digit for digit in number if digit.isascii() and digit.isdigit())[:15]


def _end(told: Mapping[str, Any]) -> str:
    """How a call ended: only one that was picked up has a beginning."""
    if told.get("errors"):
        return "failed"
    was_taken = told.get("start_time") or told.get("duration")
    if not was_taken:
        return "no-answer"
    return "failed" if told.get("status") == "FAILED" else "completed"


def _sdp(told: Mapping[str, Any]) -> str:
    session, connection = told.get("session"), told.get("connection")
    if isinstance(session, dict) and isinstance(session.get("sdp"), str):
        return str(session["sdp"])
    webrtc = connection.get("webrtc") if isinstance(connection, dict) else None
    sdp = webrtc.get("sdp") if isinstance(webrtc, dict) else None
    return sdp if isinstance(sdp, str) else ""


def _reference(told: Mapping[str, Any]) -> str:
    given = told.get("biz_opaque_callback_data")
    return given if isinstance(given, str) else ""


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH


def ringing_of(told: CallTold) -> Ringing:
    """The call as one that rings."""
    return Ringing(
        provider=whatsapp.PROVIDER,
        proof=told.proof,
        provider_call_id=told.provider_call_id,
        from_number=told.person,
        to_number=told.number,
        channel="whatsapp",
    )
