"""Texts: one message of a phone to a customer, or of a customer to a phone, and how phones take theirs."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec
from aiohttp import CookieJar

from turncall_phone.accounts import Account
from turncall_phone.sids import new_sid

# Characters of a text that travels in one part, and in each of several (GSM 03.40 and 03.38).
GSM_ALONE, GSM_PART, UCS_ALONE, UCS_PART = 160, 153, 70, 67
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENDED = frozenset("^{}\\[~]|€\f")

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
HELP_WORDS = frozenset({"HELP", "INFO"})


class TextStatus(StrEnum):
    """Twilio's states of a message."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    RECEIVED = "received"


class Receives(msgspec.Struct, frozen=True, kw_only=True, tag_field="phone", tag="receives"):
    """The phone has the text `after_s` after it was sent."""

    after_s: float = 0.0


class Undeliverable(msgspec.Struct, frozen=True, kw_only=True, tag_field="phone", tag="undeliverable"):
    """The text is sent and does not arrive: 30003 for a phone that is off, 30005 unknown, 30006 landline, 30007
    filtered."""

    code: int = 30003
    after_s: float = 0.0


class TextRefused(msgspec.Struct, frozen=True, kw_only=True, tag_field="phone", tag="refused"):
    """REST refuses to write to this number, with the vendor's `code`."""

    code: int = 21614


type AnyTextPhone = Receives | Undeliverable | TextRefused


class Text:
    """One text as its account, its phone and a test see it."""

    def __init__(
        self,
        *,
        account: Account,
        direction: Literal["inbound", "outbound-api", "outbound-reply"],
        from_: str,
        to: str,
        body: str,
        at: datetime,
        status: TextStatus,
        status_url: str = "",
        media: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.sid = new_sid("MM" if media else "SM")
        self.media = tuple(media)
        self.account = account
        self.direction = direction
        self.from_, self.to, self.body = from_, to, body
        self.status = status
        self.status_url = status_url
        self.error_code: int | None = None
        self.created_at = self.updated_at = at
        self.sent_at: datetime | None = None
        self.cookies = CookieJar(unsafe=True)

    @property
    def segments(self) -> int:
        """In how many parts it travels."""
        is_gsm = all(letter in _GSM or letter in _GSM_EXTENDED for letter in self.body)
        size = len(self.body) + sum(letter in _GSM_EXTENDED for letter in self.body) if is_gsm else len(self.body)
        alone, part = (GSM_ALONE, GSM_PART) if is_gsm else (UCS_ALONE, UCS_PART)
        return 1 if size <= alone else -(-size // part)
