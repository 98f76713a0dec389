"""What control asks of carriers of calls and of messages, and the ways in which a carrier refuses."""

from datetime import datetime
from typing import ClassVar, Literal, Protocol

from msgspec import Struct

from turncall_proto.events import Refusal


class CarrierError(Exception):
    """A carrier did not do what was asked. ``is_retryable``: the same request may succeed later. ``refusal`` is why it
    placed no call, in the contract's words."""

    is_retryable: ClassVar[bool] = False
    refusal: ClassVar[Refusal] = "other"

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Gone(CarrierError):
    """The carrier has no such resource, or no longer has it."""


class NotInProgress(CarrierError):
    """The call cannot be changed because it has ended, or has not begun."""


class NotAuthorised(CarrierError):
    """The carrier does not accept our credentials: check the account id and the auth token."""

    refusal: ClassVar[Refusal] = "credentials"


class Rejected(CarrierError):
    """The carrier understood the request and refuses it; the message holds its reason."""


class LimitReached(CarrierError):
    """Too many requests for this account; ask again later."""

    is_retryable = True
    refusal: ClassVar[Refusal] = "rate_limited"


class Unavailable(CarrierError):
    """The carrier cannot be reached, is broken, or did not answer in time. Whether it acted is unknown."""

    is_retryable = True


class NotReached(Unavailable):
    """No connection to the carrier could be made: it got nothing of the request, and did nothing."""


class Immovable(Rejected):
    """The carrier brings a live call nowhere else: it stays where its sound is, or ends."""


class NoSuchNumber(Rejected):
    """The number that was to be called does not exist or cannot be reached from here."""

    refusal: ClassVar[Refusal] = "invalid_number"


class Barred(Rejected):
    """The account may not call this number, this country, or anybody; or may not write to them."""

    refusal: ClassVar[Refusal] = "blocked"


class NotPermitted(Barred):
    """The person has not let this number call, or does not any more."""


class Unverified(Barred):
    """A trial account calls verified numbers alone, and shows none but its own or a verified one."""

    refusal: ClassVar[Refusal] = "unverified"


class OutOfCredit(Barred):
    """The account is not active, as a rule because nothing is left on it."""

    refusal: ClassVar[Refusal] = "out_of_credit"


class WindowClosed(Rejected):
    """The person has not written for so long that only a template may be sent."""


class OptedOut(Rejected):
    """The person wants no messages from this number, and has told the carrier so."""


class CarrierNumber(Struct, frozen=True, kw_only=True):
    """A phone number that the account owns, and where its calls and messages are sent.

    ``is_diverted`` says that an application or a SIP trunk is set on it, which makes ``voice_url`` unused.
    """

    sid: str
    e164: str
    label: str
    can_voice: bool
    can_sms: bool
    voice_url: str = ""
    voice_fallback_url: str = ""
    status_url: str = ""
    is_diverted: bool = False
    sms_url: str = ""


class NumberUrls(Struct, frozen=True, kw_only=True):
    """Where a carrier sends what happens on a number; an empty string clears that address.

    Without a ``sms_url`` messages to the number stay where they go.
    """

    voice_url: str
    voice_fallback_url: str
    status_url: str
    sms_url: str | None = None


class CarrierCall(Struct, frozen=True, kw_only=True):
    """A call as the carrier sees it. ``status`` is Twilio's vocabulary; ``duration_s`` is known once it ended.

    ``to_number`` is who is called; ``parent`` is the call for which the carrier made this one.
    """

    provider_call_id: str
    status: str
    duration_s: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    to_number: str = ""
    is_inbound: bool = False
    parent: str | None = None


class CallOrder(Struct, frozen=True, kw_only=True):
    """A call to be placed. The addresses are asked by POST; ``status_url`` at every step of the call's way.

    ``detects``: the carrier is to find out whether a machine has answered before it asks ``answer_url``: at once, or
    once a machine's greeting is over.
    """

    from_number: str
    to_number: str
    answer_url: str
    fallback_url: str
    status_url: str
    ring_timeout_s: int
    detects: Literal["no", "at_once", "after_greeting"] = "no"


class Template(Struct, frozen=True, kw_only=True):
    """A message that the carrier has approved beforehand, and what fills its places in their order."""

    name: str
    language: str
    parameters: tuple[str, ...] = ()


class TextOrder(Struct, frozen=True, kw_only=True):
    """A message to be sent to a phone. How far it has come is told to ``status_url``, with ``reference``, or with
    ``reference`` to the sender's webhook. A ``template`` is sent in place of the ``body``."""

    from_number: str
    to_number: str
    body: str
    status_url: str
    reference: str
    template: Template | None = None


class SentText(Struct, frozen=True, kw_only=True):
    """A message that the carrier took to be sent."""

    provider_message_id: str
    body: str
    created_at: datetime


class TextStanding(Struct, frozen=True, kw_only=True):
    """How far a message has come, in the carrier's word for it, and its code of what went wrong."""

    status: str
    code: int | None = None


class Line(Protocol):
    """What is asked about a call that somebody holds a line for. Every method raises a `CarrierError`."""

    async def end_call(self, provider_call_id: str) -> None:
        """Hangs up. Raises `Gone` or `NotInProgress` when there is nothing left to end. A repeat is harmless."""
        ...

    async def redirect_call(self, provider_call_id: str, url: str) -> None:
        """Has the carrier leave what it does with a live call and ask ``url`` by POST what to do instead.

        Raises `Gone` or `NotInProgress` when there is no live call. A repeat makes it ask again.
        """
        ...

    async def fetch_call(self, provider_call_id: str) -> CarrierCall:
        """The call as the carrier sees it, seconds late at times. Raises `Gone`."""
        ...


class Messenger(Protocol):
    """One account at somebody who carries messages. Every method raises a `CarrierError`, within its own deadline."""

    @property
    def provider(self) -> str:
        """The carrier's name, as numbers, calls and messages store it: ``twilio``."""
        ...

    @property
    def account(self) -> str:
        """The carrier's name of the account, as it stands in its webhooks."""
        ...

    async def send_text(self, order: TextOrder) -> str:
        """Has the carrier send a message; its id of it. Never repeated by itself: there is no key to tell repeats by.

        Raises `NotReached` if the carrier got nothing of it, `LimitReached`, `OptedOut`, `NoSuchNumber`, `Barred` and
        other refusals if it sends nothing, and `Unavailable` if nobody knows.
        """
        ...

    async def sent_texts(self, from_number: str, to_number: str, since: datetime) -> list[SentText] | None:
        """The messages that were sent by request between two numbers since then, newest first; None without a list.

        One of the last seconds may be missing.
        """
        ...

    async def fetch_text(self, provider_message_id: str) -> TextStanding | None:
        """How far a message has come; None from a carrier that tells it by callbacks alone. Raises `Gone`."""
        ...


class Dialled(Line, Protocol):
    """Where calls of ours are placed."""

    async def placed_calls(self, from_number: str, to_number: str, since: datetime) -> list[str]:
        """The carrier's ids of the calls that were placed by request between two numbers since then, newest first.

        A call of the last seconds may be missing.
        """
        ...


class Carrier(Dialled, Messenger, Protocol):
    """One account at one carrier of calls. Every method raises a `CarrierError` and returns within its own deadline."""

    async def find_number(self, e164_or_sid: str) -> CarrierNumber:
        """A number of this account, by its E.164 form or by the carrier's id. Raises `Gone`."""
        ...

    async def list_numbers(self, limit: int = 200) -> list[CarrierNumber]:
        """The numbers that the account owns, ``limit`` at most."""
        ...

    async def configure_number(self, sid: str, urls: NumberUrls) -> CarrierNumber:
        """Points a number at us; all addresses are asked by POST. Raises `Gone`. A repeat changes nothing."""
        ...

    async def release_number(self, sid: str, urls: NumberUrls) -> None:
        """Takes our addresses, which are ``urls``, off a number; the account keeps the number. Gone numbers are fine.

        Where its messages go is left alone, unless that is here.
        """
        ...

    async def place_call(self, order: CallOrder) -> str:
        """Has the carrier place a call; its id of it. Never repeated by itself: there is no key to tell repeats by.

        Raises `NotReached` if the carrier got nothing of it, `LimitReached`, `NoSuchNumber`, `Barred` and other
        refusals if it placed nothing, and `Unavailable` if nobody knows.
        """
        ...

    async def legs_of(self, provider_call_id: str) -> list[CarrierCall]:
        """The calls that the carrier has made for a call which it connects to somebody."""
        ...

    async def those_in(self, room: str) -> list[str]:
        """The carrier's ids of the calls in a room that is open; empty for one that is not."""
        ...

    async def list_live_calls(self, limit: int = 1000) -> list[CarrierCall]:
        """The account's calls that are connected, ``limit`` at most, seconds late at times."""
        ...

    async def check(self) -> str:
        """How the account stands, in the carrier's words: ``active`` is well. Raises `NotAuthorised`."""
        ...


class Answers(Protocol):
    """What answers a carrier's question what to do with a call that rings. The carrier's own module is one."""

    @property
    def SPEAKS(self) -> bool:
        """Whether the carrier itself speaks to callers, and connects them to phones."""
        ...

    def connect_stream(self, *, stream_url: str, action_url: str) -> str:
        """Hands the call's audio to a media socket; when that ends, the carrier asks ``action_url`` what comes next."""
        ...

    def hold(self, *, sentence: str | None, pause_s: int, ask_url: str) -> str:
        """Speaks ``sentence``, if any, is silent for whole seconds, and asks ``ask_url`` again what to do."""
        ...

    def forward(self, *, sentence: str | None, number: str, caller_id: str, ring_s: int, action_url: str) -> str:
        """Speaks ``sentence``, if any, and rings ``number`` for ``ring_s``, showing ``caller_id`` there.

        The caller hears ringing, and is answered when that phone is. Afterwards the carrier asks ``action_url``.
        """
        ...

    def reject(self, *, is_busy: bool) -> str:
        """Ends a call that rings without answering it: with the busy tone, or as if nobody were there."""
        ...

    def say_and_hang_up(self, sentence: str) -> str:
        """Speaks one sentence and ends the call."""
        ...

    def hang_up(self) -> str:
        """Ends the call."""
        ...


class Documents(Answers, Protocol):
    """The documents of a carrier that joins calls with each other, beyond those that answer one."""

    def connect_to(self, *, to: str, caller_id: str, ring_s: int, action_url: str, status_url: str) -> str:
        """Rings a phone number or a SIP address for ``ring_s`` and joins the caller to it.

        ``status_url`` is asked when it is answered and when it is over, ``action_url`` what comes afterwards.
        """
        ...

    def wait_in_room(self, *, room: str, action_url: str, status_url: str) -> str:
        """Has the caller wait, with music, until somebody joins the room; ``action_url`` is asked when that is over.

        ``status_url`` is told of everybody who comes, goes, is held or muted there.
        """
        ...

    def ask_for_key(self, *, sentence: str, key: str, action_url: str) -> str:
        """Speaks ``sentence`` and which key takes the call, then asks ``action_url`` with what was pressed, if any."""
        ...

    def join_room(self, *, sentence: str, room: str, status_url: str) -> str:
        """Speaks ``sentence``, if any, and joins those who wait in the room, which ends with this call."""
        ...
