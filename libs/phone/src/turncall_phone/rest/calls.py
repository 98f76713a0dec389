"""Calls over REST: create, fetch, list, update, delete."""

import re
from collections.abc import Sequence
from datetime import date, datetime

from turncall_phone.accounts import Account
from turncall_phone.caller import Refused
from turncall_phone.calls import (
    Call,
    CallPlan,
    CallStatus,
    Detection,
    EndOrder,
    Instruction,
    RedirectOrder,
    Subscription,
)
from turncall_phone.notices import API_VERSION, rfc2822
from turncall_phone.rest.errors import RestError, invalid, not_found, refused
from turncall_phone.rest.forms import Form
from turncall_phone.rest.pages import PAGE_KEYS, page
from turncall_phone.switchboard import Switchboard

type FormPairs = Sequence[tuple[str, str]]

MAX_INLINE_CHARS = 4000
CREATE_KEYS = frozenset(
    [
        "To",
        "From",
        "Url",
        "Method",
        "Twiml",
        "FallbackUrl",
        "FallbackMethod",
        "StatusCallback",
        "StatusCallbackMethod",
        "StatusCallbackEvent",
        "Timeout",
        "TimeLimit",
        "SendDigits",
        "AsyncAmd",
        "AsyncAmdStatusCallback",
        "AsyncAmdStatusCallbackMethod",
        "MachineDetection",
        "MachineDetectionSilenceTimeout",
        "MachineDetectionSpeechEndThreshold",
        "MachineDetectionSpeechThreshold",
        "MachineDetectionTimeout",
    ]
)
UPDATE_KEYS = frozenset(
    [
        "Url",
        "Method",
        "Twiml",
        "Status",
        "FallbackUrl",
        "FallbackMethod",
        "StatusCallback",
        "StatusCallbackMethod",
        "TimeLimit",
    ]
)
NOT_EMULATED = frozenset(
    [
        "ApplicationSid",
        "Byoc",
        "CallReason",
        "CallToken",
        "CallerId",
        "ClientNotificationUrl",
        "Record",
        "RecordingChannels",
        "RecordingStatusCallback",
        "RecordingStatusCallbackEvent",
        "RecordingStatusCallbackMethod",
        "RecordingTrack",
        "SipAuthPassword",
        "SipAuthUsername",
        "Trim",
    ]
)
FILTERS = frozenset(
    [
        "To",
        "From",
        "ParentCallSid",
        "Status",
        "StartTime",
        "StartTime<",
        "StartTime>",
        "EndTime",
        "EndTime<",
        "EndTime>",
    ]
)
EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_SIP = re.compile(r"sips?:[^@\s]+@[^@\s]+")
_DIGITS = re.compile(r"[0-9A-Da-d#*wW]{1,32}")


def create(board: Switchboard, account: Account, pairs: FormPairs, *, is_strict: bool) -> dict[str, object]:
    """Queue an outbound call; raises RestError."""
    form = Form(pairs, known=CREATE_KEYS, not_emulated=NOT_EMULATED, is_strict=is_strict)
    to, from_ = form.text("To"), form.text("From")
    if not to:
        raise invalid("No 'To' number is specified", 21201)
    if not from_:
        raise invalid("No 'From' number is specified", 21213)
    if not (_E164.fullmatch(to) or _SIP.fullmatch(to)):
        raise invalid(f"The 'To' number {to} is not a valid phone number.", 21211)
    if not _E164.fullmatch(from_):
        raise invalid(f"The 'From' number {from_} is not a valid phone number.", 21212)
    number = board.numbers.find(from_)
    if number is None or number.account_sid != account.sid:
        raise invalid(f"The source phone number provided, {from_}, is not yet verified for your account.", 21210)
    plan = _plan(form)
    phone = board.phone(to)
    if isinstance(phone, Refused):
        raise refused(phone.code, to)
    return show(board.place(account, to=to, from_=from_, plan=plan))


def fetch(board: Switchboard, account: Account, sid: str, path: str) -> dict[str, object]:
    """One call; raises RestError."""
    return show(_find(board, account, sid, path))


def delete(board: Switchboard, account: Account, sid: str, path: str) -> None:
    """Forget an ended call; raises RestError."""
    call = _find(board, account, sid, path)
    if not call.is_over:
        raise RestError(409, 20409, f"The call {sid} is in progress and cannot be deleted")
    board.calls.forget(call)


def index(board: Switchboard, account: Account, pairs: FormPairs, path: str, *, is_strict: bool) -> dict[str, object]:
    """A page of the account's calls, newest first; raises RestError."""
    form = Form(pairs, known=FILTERS | PAGE_KEYS, is_strict=is_strict)
    calls = [c for c in board.calls if c.account.sid == account.sid and _is_wanted(c, form)]
    return page(calls[::-1], show, key="calls", path=path, form=form, filters=FILTERS)


def update(
    board: Switchboard, account: Account, sid: str, pairs: FormPairs, path: str, *, is_strict: bool
) -> dict[str, object]:
    """Change a live call: end or cancel it, give it new TwiML, or new settings; raises RestError."""
    call = _find(board, account, sid, path)
    form = Form(pairs, known=UPDATE_KEYS, is_strict=is_strict)
    order = _order(call, form)
    if call.is_over:
        raise invalid("Call is not in-progress. Cannot redirect.", 21220)
    call.plan = _changed_plan(call.plan, form)
    if order is not None:
        call.order(order)
    return show(call)


def show(call: Call) -> dict[str, object]:
    """The call as REST shows it: numbers as strings, times in RFC 2822, null until known."""
    uri = f"/{API_VERSION}/Accounts/{call.account.sid}/Calls/{call.sid}"
    return {
        "sid": call.sid,
        "account_sid": call.account.sid,
        "api_version": API_VERSION,
        "to": call.to,
        "to_formatted": call.to,
        "from": call.from_,
        "from_formatted": call.from_,
        "phone_number_sid": None,
        "parent_call_sid": call.parent_sid or None,
        "status": str(call.status),
        "direction": call.direction,
        "start_time": _time(call.answered_at),
        "end_time": _time(call.ended_at),
        "duration": str(call.duration_s) if call.is_over else None,
        "date_created": rfc2822(call.created_at),
        "date_updated": rfc2822(call.updated_at),
        "queue_time": str(call.queued_ms),
        "price": None,
        "price_unit": "USD",
        "answered_by": call.answered_by or None,
        "annotation": None,
        "caller_name": None,
        "forwarded_from": None,
        "group_sid": None,
        "trunk_sid": None,
        "uri": uri + ".json",
        "subresource_uris": {},
    }


def _plan(form: Form) -> CallPlan:
    digits = form.text("SendDigits")
    if digits and not _DIGITS.fullmatch(digits):
        raise invalid("SendDigits holds what is no key, or more than 32 of them", 21216)
    return CallPlan(
        instruction=_instruction(form) or _missing_instruction(),
        fallback_url=form.url("FallbackUrl", code=21205),
        fallback_method=form.method("FallbackMethod"),
        subscription=_subscription(form),
        ring_timeout_s=form.whole("Timeout", 60, low=1, high=600),
        time_limit_s=form.whole("TimeLimit", 14400, low=1, high=86400),
        send_digits=digits,
        # The vendor leaves detection out when it is to press keys.
        detection=None if digits else _detection(form),
    )


def _detection(form: Form) -> Detection | None:
    wanted = form.text("MachineDetection")
    if wanted not in ("", "Enable", "DetectMessageEnd"):
        raise invalid(f"MachineDetection {wanted!r} is not one of Enable, DetectMessageEnd")
    callback = form.url("AsyncAmdStatusCallback", code=21262)
    is_async = form.text("AsyncAmd") == "true"
    if is_async and not callback:
        raise invalid("AsyncAmd needs an AsyncAmdStatusCallback", 21262)
    if not wanted:
        return None
    told = Subscription(url=callback, method=form.method("AsyncAmdStatusCallbackMethod")) if is_async else None
    return Detection(
        waits_for_end=wanted == "DetectMessageEnd",
        timeout_s=form.whole("MachineDetectionTimeout", 30, low=3, high=59),
        speech_ms=form.whole("MachineDetectionSpeechThreshold", 2400, low=1000, high=6000),
        speech_end_ms=form.whole("MachineDetectionSpeechEndThreshold", 1200, low=500, high=5000),
        silence_ms=form.whole("MachineDetectionSilenceTimeout", 5000, low=2000, high=10000),
        callback=told,
    )


def _instruction(form: Form) -> Instruction | None:
    """What to run: `Url` wins over `Twiml`, as it does at the vendor."""
    url, twiml = form.url("Url", code=21205), form.text("Twiml")
    if url:
        return Instruction(url=url, method=form.method("Method"))
    if len(twiml) > MAX_INLINE_CHARS:
        raise invalid(f"Twiml has {len(twiml)} characters: at most {MAX_INLINE_CHARS} are taken", 32018)
    return Instruction(twiml=twiml) if twiml else None


def _missing_instruction() -> Instruction:
    raise invalid("Url or Twiml is required", 21205)


def _subscription(form: Form) -> Subscription | None:
    url = form.url("StatusCallback", code=21609)
    # Clients send the events as a repeated key or, as the vendor's console shows them, separated by blanks.
    events = frozenset(event for text in form.texts("StatusCallbackEvent") for event in text.split())
    if not events <= EVENTS:
        raise invalid(f"StatusCallbackEvent {sorted(events - EVENTS)} is not one of {sorted(EVENTS)}", 21626)
    if not url:
        return None
    return Subscription(url=url, method=form.method("StatusCallbackMethod"), events=events or frozenset({"completed"}))


def _changed_plan(plan: CallPlan, form: Form) -> CallPlan:
    subscription = plan.subscription
    if form.has("StatusCallback"):
        events = subscription.events if subscription else frozenset({"completed"})
        url = form.url("StatusCallback", code=21609)
        subscription = Subscription(url=url, method=form.method("StatusCallbackMethod"), events=events) if url else None
    return CallPlan(
        instruction=plan.instruction,
        fallback_url=form.url("FallbackUrl", code=21205, default=plan.fallback_url),
        fallback_method=form.method("FallbackMethod", plan.fallback_method),
        subscription=subscription,
        ring_timeout_s=plan.ring_timeout_s,
        time_limit_s=plan.time_limit_s,
        send_digits=plan.send_digits,
        detection=plan.detection,
    )


def _order(call: Call, form: Form) -> EndOrder | RedirectOrder | None:
    status = form.text("Status")
    if status and status not in ("canceled", "completed"):
        raise invalid(f"Status {status!r} is not one of canceled, completed")
    if form.text("Url") and form.text("Twiml"):
        raise invalid("Url and Twiml exclude each other")
    is_waiting = call.status in (CallStatus.QUEUED, CallStatus.RINGING)
    if status == "canceled" and not is_waiting:
        raise invalid("Call is not queued or ringing. Cannot cancel.", 21220)
    if status:
        return EndOrder(by="api", status=CallStatus.CANCELED if is_waiting else None)
    instruction = _instruction(form)
    if instruction is not None and call.status is not CallStatus.IN_PROGRESS:
        raise invalid("Call is not in-progress. Cannot redirect.", 21220)
    return RedirectOrder(instruction=instruction) if instruction is not None else None


def _find(board: Switchboard, account: Account, sid: str, path: str) -> Call:
    call = board.calls.find(sid, account.sid)
    if call is None:
        raise not_found(path)
    return call


def _is_wanted(call: Call, form: Form) -> bool:
    exact = (("To", call.to), ("From", call.from_), ("Status", str(call.status)), ("ParentCallSid", call.parent_sid))
    if any(form.text(name) and form.text(name) != value for name, value in exact):
        return False
    times = (("StartTime", call.answered_at), ("EndTime", call.ended_at))
    return all(_is_within(at, form, name) for name, at in times)


def _is_within(at: datetime | None, form: Form, name: str) -> bool:
    """The three filters of one time, by UTC day: `StartTime=`, `StartTime<=` and `StartTime>=` on the wire."""
    for key, holds in ((name, date.__eq__), (name + "<", date.__le__), (name + ">", date.__ge__)):
        text = form.text(key)
        if text and (at is None or not holds(at.date(), _day(text, key))):
            return False
    return True


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError as error:
        raise invalid(f"{name} must begin with a date, YYYY-MM-DD") from error


def _time(at: datetime | None) -> str | None:
    return rfc2822(at) if at is not None else None
