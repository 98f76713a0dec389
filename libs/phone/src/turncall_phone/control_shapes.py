"""The JSON of the control face: what its server and its client both read and write."""

import msgspec

from turncall_phone.caller import AnyPhone, AnyStep
from turncall_phone.faults import AnyFault
from turncall_phone.journal import Entry
from turncall_phone.texting import AnyTextPhone


class NumberSetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number and what it does when called or written to; an unowned one is added to the account."""

    phone_number: str
    account_sid: str = ""
    voice_url: str = ""
    voice_fallback_url: str = ""
    status_callback: str = ""
    sms_url: str = ""
    sms_fallback_url: str = ""


class DialOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An inbound call to place."""

    to: str
    from_: str = msgspec.field(name="from")
    script: tuple[AnyStep, ...] = ()


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the control face shows it; times on the call's line count from the answer."""

    sid: str
    direction: str
    to: str
    from_: str = msgspec.field(name="from")
    status: str
    is_over: bool
    line_ms: int
    agent_speaking: bool
    heard_texts: tuple[str, ...]


class CallList(msgspec.Struct, frozen=True, kw_only=True):
    """All calls, oldest first."""

    calls: tuple[CallView, ...]


class PressOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys to press, one after the other."""

    digits: str


class PhoneSetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the phone at a number behaves when it is called."""

    phone_number: str
    phone: AnyPhone


class TextOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text that a person writes to an owned number."""

    to: str
    from_: str = msgspec.field(name="from")
    body: str


class TextPhoneSetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the phone at a number takes texts."""

    phone_number: str
    phone: AnyTextPhone


class TextView(msgspec.Struct, frozen=True, kw_only=True):
    """A text as the control face shows it."""

    sid: str
    to: str
    from_: str = msgspec.field(name="from")
    body: str
    status: str
    error_code: int | None


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """The texts that arrived on a phone, oldest first."""

    texts: tuple[TextView, ...]


class ArmedFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that waits to strike."""

    id: int
    fault: AnyFault


class FaultList(msgspec.Struct, frozen=True, kw_only=True):
    """The armed faults, oldest first."""

    faults: tuple[ArmedFault, ...]


class JournalPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries after a number, oldest first; ask again with the last one's number."""

    entries: tuple[Entry, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused."""

    error: str
