"""The parameters of the carrier's requests, in its own spelling."""

from datetime import datetime
from email.utils import format_datetime

from turncall_phone.calls import Call, CallStatus
from turncall_phone.texting import Text

API_VERSION = "2010-04-01"

type Pairs = tuple[tuple[str, str], ...]

# The answer of the called network behind each final state.
SIP_CODES = {
    CallStatus.COMPLETED: 200,
    CallStatus.BUSY: 486,
    CallStatus.NO_ANSWER: 487,
    CallStatus.CANCELED: 487,
    CallStatus.FAILED: 404,
}


def rfc2822(at: datetime) -> str:
    """`Tue, 03 Nov 2026 09:15:02 +0000`: the time format of REST and of call callbacks."""
    return format_datetime(at)


def call_params(call: Call, status: str | None = None) -> Pairs:
    """What every request about a call carries; `status` replaces the call's own (a callback may be older).

    Geo fields are blank, as they are for most numbers. `CallTrait` is a parameter that no receiver knows: the carrier
    adds parameters without notice, and receivers must sign and ignore them.
    """
    geo = tuple(
        (f"{side}{field}", "")
        for side in ("From", "To", "Caller", "Called")
        for field in ("City", "State", "Zip", "Country")
    )
    verified = (("StirVerstat", "TN-Validation-Passed-A"),) if call.direction == "inbound" else ()
    return (
        ("CallSid", call.sid),
        ("AccountSid", call.account.sid),
        ("From", call.from_),
        ("To", call.to),
        ("Caller", call.from_),
        ("Called", call.to),
        ("CallStatus", status or call.status),
        ("ApiVersion", API_VERSION),
        ("Direction", call.direction),
        *((("ParentCallSid", call.parent_sid),) if call.parent_sid else ()),
        *verified,
        *geo,
        ("CallTrait", "introduced without notice"),
    )


def progress_params(call: Call, *, status: str, sequence: int, at: datetime) -> Pairs:
    """A status callback: the call's parameters, its number in the sequence, and the durations of an ended call."""
    params = (
        *call_params(call, status),
        ("SequenceNumber", str(sequence)),
        ("CallbackSource", "call-progress-events"),
        ("Timestamp", rfc2822(at)),
    )
    if status not in set(CallStatus) or not CallStatus(status).is_final:
        return params
    return (
        *params,
        ("CallDuration", str(call.duration_s)),
        ("Duration", str(-(-call.duration_s // 60))),
        ("SipResponseCode", str(call.sip_code)),
        *((("AnsweredBy", call.answered_by),) if call.answered_by else ()),
    )


def text_params(text: Text, status: str | None = None) -> Pairs:
    """What every request about a text carries; `status` replaces the text's own (a callback may be older)."""
    told = status or text.status
    params = (
        ("MessageSid", text.sid),
        ("SmsSid", text.sid),
        ("SmsStatus", told),
        ("From", text.from_),
        ("To", text.to),
        ("AccountSid", text.account.sid),
        ("ApiVersion", API_VERSION),
        ("MessageTrait", "introduced without notice"),
    )
    if text.direction != "inbound":
        failed = (("ErrorCode", str(text.error_code)),) if text.error_code and told == text.status else ()
        return (*params, ("MessageStatus", told), *failed)
    geo = tuple((f"{side}{field}", "") for side in ("From", "To") for field in ("City", "State", "Zip", "Country"))
    counted = (("Body", text.body), ("NumMedia", str(len(text.media))), ("NumSegments", str(text.segments)))
    media = tuple(
        pair
        for index, (url, content_type) in enumerate(text.media)
        for pair in ((f"MediaUrl{index}", url), (f"MediaContentType{index}", content_type))
    )
    return (*params, ("SmsMessageSid", text.sid), *counted, *media, *geo)


def stream_params(call: Call, stream_sid: str, name: str, event: str, at: datetime, error: str = "") -> Pairs:
    """A stream status callback; its time is ISO 8601, unlike a call's."""
    params = (
        ("AccountSid", call.account.sid),
        ("CallSid", call.sid),
        ("StreamSid", stream_sid),
        ("StreamName", name or stream_sid),
        ("StreamEvent", event),
        ("Timestamp", at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"),
    )
    return (*params, ("StreamError", error)) if error else params
