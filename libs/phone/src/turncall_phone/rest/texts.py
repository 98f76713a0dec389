"""Messages over REST: create, fetch, list."""

import re
from collections.abc import Sequence

from turncall_phone.accounts import Account
from turncall_phone.notices import API_VERSION, rfc2822
from turncall_phone.rest.errors import invalid, not_found, refused
from turncall_phone.rest.forms import Form
from turncall_phone.rest.pages import PAGE_KEYS, page
from turncall_phone.switchboard import Switchboard
from turncall_phone.texting import Text, TextRefused

type FormPairs = Sequence[tuple[str, str]]

MAX_BODY_CHARS = 1600
CREATE_KEYS = frozenset({"To", "From", "Body", "StatusCallback"})
NOT_EMULATED = frozenset(
    [
        "AddressRetention",
        "ApplicationSid",
        "Attempt",
        "ContentRetention",
        "ContentSid",
        "ContentVariables",
        "ForceDelivery",
        "MaxPrice",
        "MediaUrl",
        "MessagingServiceSid",
        "PersistentAction",
        "ProvideFeedback",
        "RiskCheck",
        "ScheduleType",
        "SendAsMms",
        "SendAt",
        "ShortenUrls",
        "SmartEncoded",
        "ValidityPeriod",
    ]
)
FILTERS = frozenset({"To", "From"})
_E164 = re.compile(r"\+[1-9]\d{6,14}")


def create(board: Switchboard, account: Account, pairs: FormPairs, *, is_strict: bool) -> dict[str, object]:
    """Queue a text; raises RestError."""
    form = Form(pairs, known=CREATE_KEYS, not_emulated=NOT_EMULATED, is_strict=is_strict)
    to, from_, body = form.text("To"), form.text("From"), form.text("Body")
    if not to:
        raise invalid("A 'To' phone number is required.", 21604)
    if not _E164.fullmatch(to):
        raise invalid(f"The 'To' number {to} is not a valid phone number.", 21211)
    if not body:
        raise invalid("Message body is required.", 21602)
    if len(body) > MAX_BODY_CHARS:
        raise invalid("The concatenated message body exceeds the 1600 character limit.", 21617)
    number = board.numbers.find(from_)
    if number is None or number.account_sid != account.sid:
        raise refused(21606, to)
    phone = board.texts.phone(to)
    if isinstance(phone, TextRefused):
        raise refused(phone.code, to)
    if board.texts.is_stopped(from_, to):
        raise refused(21610, to)
    status_url = form.url("StatusCallback", code=21609)
    return show(board.texts.send(account, to=to, from_=from_, body=body, status_url=status_url))


def fetch(board: Switchboard, account: Account, sid: str, path: str) -> dict[str, object]:
    """One text; raises RestError."""
    text = board.texts.find(sid)
    if text is None or text.account.sid != account.sid:
        raise not_found(path)
    return show(text)


def index(board: Switchboard, account: Account, pairs: FormPairs, path: str, *, is_strict: bool) -> dict[str, object]:
    """A page of the account's texts, newest first; raises RestError."""
    form = Form(pairs, known=FILTERS | PAGE_KEYS, is_strict=is_strict)
    wanted = [
        text
        for text in board.texts.of_account(account.sid)
        if form.text("To") in ("", text.to) and form.text("From") in ("", text.from_)
    ]
    return page(wanted, show, key="messages", path=path, form=form, filters=FILTERS)


def show(text: Text) -> dict[str, object]:
    """The text as REST shows it: numbers as strings, times in RFC 2822, null until known."""
    return {
        "sid": text.sid,
        "account_sid": text.account.sid,
        "api_version": API_VERSION,
        "messaging_service_sid": None,
        "to": text.to,
        "from": text.from_,
        "body": text.body,
        "status": str(text.status),
        "direction": text.direction,
        "num_segments": str(text.segments),
        "num_media": str(len(text.media)),
        "error_code": text.error_code,
        "error_message": None,
        "price": None,
        "price_unit": "USD",
        "date_created": rfc2822(text.created_at),
        "date_updated": rfc2822(text.updated_at),
        "date_sent": rfc2822(text.sent_at) if text.sent_at is not None else None,
        "uri": f"/{API_VERSION}/Accounts/{text.account.sid}/Messages/{text.sid}.json",
        "subresource_uris": {},
    }
