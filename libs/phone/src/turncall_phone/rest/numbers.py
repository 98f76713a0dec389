"""Incoming phone numbers over REST: list, fetch, update."""

from collections.abc import Sequence

import msgspec

from turncall_phone.accounts import Account, Number
from turncall_phone.notices import API_VERSION, rfc2822
from turncall_phone.rest.errors import not_found
from turncall_phone.rest.forms import Form
from turncall_phone.rest.pages import PAGE_KEYS, page
from turncall_phone.switchboard import Switchboard

type FormPairs = Sequence[tuple[str, str]]

FILTERS = frozenset({"PhoneNumber", "FriendlyName"})
UPDATE_KEYS = frozenset(
    [
        "FriendlyName",
        "VoiceUrl",
        "VoiceMethod",
        "VoiceFallbackUrl",
        "VoiceFallbackMethod",
        "StatusCallback",
        "StatusCallbackMethod",
        "SmsUrl",
        "SmsMethod",
        "SmsFallbackUrl",
        "SmsFallbackMethod",
    ]
)
# Blank values of these are taken: clients send them to detach a number from an application or a trunk.
NOT_EMULATED = frozenset(
    [
        "AccountSid",
        "AddressSid",
        "ApiVersion",
        "BundleSid",
        "EmergencyAddressSid",
        "EmergencyStatus",
        "IdentitySid",
        "SmsApplicationSid",
        "TrunkSid",
        "VoiceApplicationSid",
        "VoiceCallerIdLookup",
        "VoiceReceiveMode",
    ]
)
BAD_URL = 21502


def index(board: Switchboard, account: Account, pairs: FormPairs, path: str, *, is_strict: bool) -> dict[str, object]:
    """A page of the account's numbers; `PhoneNumber` matches any part of the number, as at the vendor."""
    form = Form(pairs, known=FILTERS | PAGE_KEYS, is_strict=is_strict)
    part, name = form.text("PhoneNumber"), form.text("FriendlyName")
    wanted = [
        n for n in board.numbers.of_account(account.sid) if part in n.phone_number and name in ("", n.friendly_name)
    ]
    return page(wanted, show, key="incoming_phone_numbers", path=path, form=form, filters=FILTERS)


def fetch(board: Switchboard, account: Account, sid: str, path: str) -> dict[str, object]:
    """One number; raises RestError."""
    return show(_find(board, account, sid, path))


def update(
    board: Switchboard, account: Account, sid: str, pairs: FormPairs, path: str, *, is_strict: bool
) -> dict[str, object]:
    """Change what a number does when it is called or written to; raises RestError."""
    number = _find(board, account, sid, path)
    form = Form(pairs, known=UPDATE_KEYS, not_emulated=NOT_EMULATED, is_strict=is_strict)
    changed = msgspec.structs.replace(
        number,
        friendly_name=form.text("FriendlyName", number.friendly_name),
        voice_url=form.url("VoiceUrl", code=BAD_URL, default=number.voice_url),
        voice_method=form.method("VoiceMethod", number.voice_method),
        voice_fallback_url=form.url("VoiceFallbackUrl", code=BAD_URL, default=number.voice_fallback_url),
        voice_fallback_method=form.method("VoiceFallbackMethod", number.voice_fallback_method),
        status_callback=form.url("StatusCallback", code=BAD_URL, default=number.status_callback),
        status_callback_method=form.method("StatusCallbackMethod", number.status_callback_method),
        sms_url=form.url("SmsUrl", code=BAD_URL, default=number.sms_url),
        sms_method=form.method("SmsMethod", number.sms_method),
        sms_fallback_url=form.url("SmsFallbackUrl", code=BAD_URL, default=number.sms_fallback_url),
        sms_fallback_method=form.method("SmsFallbackMethod", number.sms_fallback_method),
        updated_at=board.clock.now(),
    )
    return show(board.numbers.replace(changed))


def show(number: Number) -> dict[str, object]:
    """The number as REST shows it."""
    return {
        "sid": number.sid,
        "account_sid": number.account_sid,
        "api_version": API_VERSION,
        "phone_number": number.phone_number,
        "friendly_name": number.friendly_name,
        "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
        "voice_url": number.voice_url,
        "voice_method": number.voice_method,
        "voice_fallback_url": number.voice_fallback_url,
        "voice_fallback_method": number.voice_fallback_method,
        "voice_application_sid": None,
        "voice_caller_id_lookup": False,
        "voice_receive_mode": "voice",
        "trunk_sid": None,
        "sms_url": number.sms_url,
        "sms_method": number.sms_method,
        "sms_fallback_url": number.sms_fallback_url,
        "sms_fallback_method": number.sms_fallback_method,
        "sms_application_sid": "",
        "status_callback": number.status_callback,
        "status_callback_method": number.status_callback_method,
        "address_sid": None,
        "address_requirements": "none",
        "bundle_sid": None,
        "identity_sid": None,
        "emergency_status": "Inactive",
        "emergency_address_sid": None,
        "emergency_address_status": "unregistered",
        "beta": False,
        "origin": "twilio",
        "status": "in-use",
        "type": "local",
        "date_created": rfc2822(number.created_at),
        "date_updated": rfc2822(number.updated_at),
        "uri": f"/{API_VERSION}/Accounts/{number.account_sid}/IncomingPhoneNumbers/{number.sid}.json",
    }


def _find(board: Switchboard, account: Account, sid: str, path: str) -> Number:
    number = board.numbers.by_sid(account.sid, sid)
    if number is None:
        raise not_found(path)
    return number
