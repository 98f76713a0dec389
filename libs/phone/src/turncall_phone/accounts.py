"""The accounts of the carrier and the phone numbers that they own."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from turncall_phone.sids import lasting_sid


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account: its SID, its primary token, and its first numbers (E.164). A suspended one may do nothing."""

    sid: str
    auth_token: str
    numbers: tuple[str, ...] = ()
    is_suspended: bool = False


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """One owned number as REST shows it; an empty URL is an unset one."""

    sid: str
    account_sid: str
    phone_number: str
    friendly_name: str
    created_at: datetime
    updated_at: datetime
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    sms_url: str = ""
    sms_method: str = "POST"
    sms_fallback_url: str = ""
    sms_fallback_method: str = "POST"


class NumberTaken(ValueError):
    """The number belongs to an account already."""


class NumberBook:
    """All numbers, by phone number; a change replaces the record."""

    def __init__(self, numbers: Iterable[Number] = ()) -> None:
        self._by_phone_number = {number.phone_number: number for number in numbers}

    def __iter__(self) -> Iterator[Number]:
        return iter(tuple(self._by_phone_number.values()))

    def add(self, account_sid: str, phone_number: str, at: datetime) -> Number:
        """Give `phone_number` to the account; raises NumberTaken when one owns it."""
        if phone_number in self._by_phone_number:
            raise NumberTaken("an account owns this number already: configure it instead of adding it")
        number = Number(
            sid=lasting_sid("PN", account_sid, phone_number),
            account_sid=account_sid,
            phone_number=phone_number,
            friendly_name=phone_number,
            created_at=at,
            updated_at=at,
        )
        self._by_phone_number[phone_number] = number
        return number

    def find(self, phone_number: str) -> Number | None:
        """The record of `phone_number`, whoever owns it."""
        return self._by_phone_number.get(phone_number)

    def by_sid(self, account_sid: str, sid: str) -> Number | None:
        """The account's number with this SID."""
        return next((n for n in self if n.sid == sid and n.account_sid == account_sid), None)

    def of_account(self, account_sid: str) -> tuple[Number, ...]:
        """The account's numbers, in the order in which they came."""
        return tuple(n for n in self if n.account_sid == account_sid)

    def replace(self, number: Number) -> Number:
        """Store the changed record of an owned number."""
        self._by_phone_number[number.phone_number] = number
        return number
