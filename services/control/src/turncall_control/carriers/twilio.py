"""Twilio: its REST API and the signature on its webhooks; the documents that answer them are `twiml`'s."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import aiohttp
from litestar.datastructures import FormMultiDict
from twilio.base import values
from twilio.http import AsyncHttpClient
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.rest.api.v2010.account.call import CallInstance
from twilio.rest.api.v2010.account.incoming_phone_number import IncomingPhoneNumberInstance

from turncall_control.carriers.base import (
    CallOrder,
    CarrierCall,
    CarrierNumber,
    Gone,
    NotReached,
    NumberUrls,
    SentText,
    TextOrder,
    TextStanding,
    Unavailable,
)
from turncall_control.carriers.twilio_refusals import translated
from turncall_control.wallet import TwilioAccount
from turncall_runtime.secret import Secret

PROVIDER: Final = "twilio"
SIGNATURE_HEADER: Final = "x-twilio-signature"
REQUEST_TIMEOUT_S: Final = 5.0
"""For one REST request, from connecting to the last byte of the answer."""

_PLACED_AT_MOST: Final = 50
_DETECTION: Final = {"at_once": "Enable", "after_greeting": "DetectMessageEnd"}


# Webhooks.


def form_of(body: bytes) -> FormMultiDict:
    """The form of a webhook, not to be believed before `is_signed`. Blank values and repeated names are kept."""
    return FormMultiDict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def is_signed(form: FormMultiDict, *, url: str, signature: str, auth_tokens: Sequence[Secret]) -> bool:
    """Whether Twilio signed the form for ``url`` with one of these tokens; False for garbage.

    ``url`` is the public one with its query, as Twilio asked for it; the port may be there or not (Twilio drops it for
    voice over https). Blank values and repeated names are signed in all their copies.
    """
    # A signature is base64 of a SHA-1: other characters would only confuse the comparison.
    if not signature.isascii():
        return False
    try:
        return any(RequestValidator(token.reveal()).validate(url, form, signature) for token in auth_tokens)
    except ValueError:  # a URL that urllib cannot take apart
        return False


# The REST API.


class HttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]  # the vendor publishes no types
    """The vendor's asynchronous transport with a base URL, a deadline that holds, and no retry of its own.

    The vendor's class ignores its timeout, and its retries would post ``Calls.json`` again after a 500: two calls.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        super().__init__()
        self._base = urlsplit(base_url)
        self._timeout_s = timeout_s

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """One request. Raises `Unavailable` when the answer is not complete within the deadline."""
        asked = urlsplit(url)
        moved = asked._replace(
            scheme=self._base.scheme, netloc=self._base.netloc, path=self._base.path.rstrip("/") + asked.path
        )
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = "Basic " + b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
        try:
            async with (
                asyncio.timeout(timeout or self._timeout_s),
                self.session.request(
                    method.upper(),
                    urlunsplit(moved),
                    params=params,
                    data=data,
                    headers=sent,
                    allow_redirects=allow_redirects,
                ) as response,
            ):
                return Response(response.status, await response.text(), response.headers)
        except TimeoutError as error:
            raise Unavailable(f"Twilio did not answer {method} within {timeout or self._timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise NotReached(f"Twilio cannot be reached: {type(error).__name__}") from error
        except aiohttp.ClientError as error:
            raise Unavailable(f"Twilio cannot be reached: {type(error).__name__}") from error


class _OneAccount(AsyncHttpClient):  # type: ignore[misc]  # the vendor publishes no types
    """The shared transport with the tokens of one account: a token that was rotated away gives way to the other."""

    def __init__(self, shared: HttpClient, held: TwilioAccount) -> None:
        super().__init__(shared.logger, is_async=True)
        self._shared = shared
        self._held = held

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """One request, again with the next token only if Twilio refused the one before, and so did nothing."""
        for token in self._held.auth_tokens:
            auth = self._held.account_sid, token.reveal()
            answer = await self._shared.request(method, url, params, data, headers, auth, timeout, allow_redirects)
            if answer.status_code != HTTPStatus.UNAUTHORIZED:
                break
        return answer


class Twilio:
    """One Twilio account. Make it inside the running loop with `connected`."""

    provider = PROVIDER

    def __init__(self, client: Client, account: str) -> None:
        self._client = client
        self.account = account

    async def find_number(self, e164_or_sid: str) -> CarrierNumber:
        """A number of this account. Raises `Gone`."""
        numbers = self._client.incoming_phone_numbers
        with translated():
            if not e164_or_sid.startswith("+"):
                return _number(await numbers(e164_or_sid).fetch_async())
            found = await numbers.list_async(phone_number=e164_or_sid, limit=1)
        # Twilio matches patterns, so a longer number could come back.
        exact = [number for number in found if number.phone_number == e164_or_sid]
        if not exact:
            raise Gone(f"the Twilio account {self.account} does not own that number")
        return _number(exact[0])

    async def list_numbers(self, limit: int = 200) -> list[CarrierNumber]:
        """The numbers that the account owns, ``limit`` at most."""
        with translated():
            return [_number(found) for found in await self._client.incoming_phone_numbers.list_async(limit=limit)]

    async def configure_number(self, sid: str, urls: NumberUrls) -> CarrierNumber:
        """Points a number at us. Raises `Gone`."""
        with translated():
            return _number(
                await self._client.incoming_phone_numbers(sid).update_async(
                    voice_url=urls.voice_url,
                    voice_method="POST",
                    voice_fallback_url=urls.voice_fallback_url,
                    voice_fallback_method="POST",
                    status_callback=urls.status_url,
                    status_callback_method="POST",
                    sms_url=values.unset if urls.sms_url is None else urls.sms_url,
                    sms_method=values.unset if urls.sms_url is None else "POST",
                )
            )

    async def release_number(self, sid: str, urls: NumberUrls) -> None:
        """Takes our addresses off a number; a number that the account lost is fine."""
        try:
            is_ours = (await self.find_number(sid)).sms_url == urls.sms_url
            sms_url = "" if is_ours else None
            blank = NumberUrls(voice_url="", voice_fallback_url="", status_url="", sms_url=sms_url)
            await self.configure_number(sid, blank)
        except Gone:
            return

    async def place_call(self, order: CallOrder) -> str:
        """Has Twilio place a call; returns its SID. Posted once, whatever comes of it."""
        with translated():
            placed = await self._client.calls.create_async(
                to=order.to_number,
                from_=order.from_number,
                url=order.answer_url,
                method="POST",
                fallback_url=order.fallback_url,
                fallback_method="POST",
                status_callback=order.status_url,
                status_callback_method="POST",
                status_callback_event=["initiated", "ringing", "answered", "completed"],
                timeout=order.ring_timeout_s,
                machine_detection=_DETECTION.get(order.detects, values.unset),
            )
            return str(placed.sid)

    async def placed_calls(self, from_number: str, to_number: str, since: datetime) -> list[str]:
        """The SIDs of outbound API calls between two numbers since then; Twilio's list may lag behind."""
        with translated():
            # Its times filter by day of the call's start, which a queued call has not: so we look at each one's birth.
            found = await self._client.calls.list_async(from_=from_number, to=to_number, limit=_PLACED_AT_MOST)
            return [
                str(call.sid)
                for call in found
                if call.direction == "outbound-api" and call.date_created is not None and call.date_created >= since
            ]

    async def end_call(self, provider_call_id: str) -> None:
        """Hangs up. Raises `Gone` (20404) or `NotInProgress` (21220)."""
        with translated():
            await self._client.calls(provider_call_id).update_async(status="completed")

    async def redirect_call(self, provider_call_id: str, url: str) -> None:
        """Has Twilio ask ``url`` what to do with a live call. Raises `Gone` (20404) or `NotInProgress` (21220)."""
        with translated():
            await self._client.calls(provider_call_id).update_async(url=url, method="POST")

    async def fetch_call(self, provider_call_id: str) -> CarrierCall:
        """The call as Twilio sees it; eventually consistent. Raises `Gone`."""
        with translated():
            return _call(await self._client.calls(provider_call_id).fetch_async())

    async def legs_of(self, provider_call_id: str) -> list[CarrierCall]:
        """The legs that `<Dial>` made for a call; eventually consistent."""
        with translated():
            found = await self._client.calls.list_async(parent_call_sid=provider_call_id, limit=_PLACED_AT_MOST)
            return [_call(one) for one in found]

    async def those_in(self, room: str) -> list[str]:
        """The SIDs of the calls in the conference of that name, if one is in progress; eventually consistent."""
        with translated():
            conferences = self._client.conferences
            for open_one in await conferences.list_async(friendly_name=room, status="in-progress", limit=1):
                there = await conferences(open_one.sid).participants.list_async(limit=_PLACED_AT_MOST)
                return [str(one.call_sid) for one in there]
            return []

    async def list_live_calls(self, limit: int = 1000) -> list[CarrierCall]:
        """The account's calls that are in progress, ``limit`` at most; eventually consistent."""
        with translated():
            found = await self._client.calls.list_async(status="in-progress", limit=limit, page_size=min(limit, 1000))
            return [_call(one) for one in found]

    async def send_text(self, order: TextOrder) -> str:
        """Has Twilio send an SMS; returns its SID. Posted once, whatever comes of it."""
        with translated():
            sent = await self._client.messages.create_async(
                to=order.to_number, from_=order.from_number, body=order.body, status_callback=order.status_url
            )
            return str(sent.sid)

    async def sent_texts(self, from_number: str, to_number: str, since: datetime) -> list[SentText]:
        """The outbound API messages between two numbers since then; Twilio's list may lag behind."""
        with translated():
            # Its times filter by the day of sending, which a queued message has not: so we look at each one's birth.
            found = await self._client.messages.list_async(from_=from_number, to=to_number, limit=_PLACED_AT_MOST)
            return [
                SentText(provider_message_id=str(one.sid), body=one.body or "", created_at=one.date_created)
                for one in found
                if one.direction == "outbound-api" and one.date_created is not None and one.date_created >= since
            ]

    async def fetch_text(self, provider_message_id: str) -> TextStanding:
        """How far a message has come. Raises `Gone` (20404)."""
        with translated():
            found = await self._client.messages(provider_message_id).fetch_async()
            return TextStanding(status=str(found.status), code=found.error_code or None)

    async def check(self) -> str:
        """How the account stands in Twilio's words, such as ``active``. Raises `NotAuthorised` for a wrong token."""
        with translated():
            return str((await self._client.api.v2010.accounts(self.account).fetch_async()).status)


@asynccontextmanager
async def reached(base_url: str, timeout_s: float = REQUEST_TIMEOUT_S) -> AsyncIterator[HttpClient]:
    """Connections to Twilio's REST API, for any number of accounts; closed at the end."""
    http_client = HttpClient(base_url, timeout_s)
    try:
        yield http_client
    finally:
        await http_client.close()


def account(http_client: HttpClient, held: TwilioAccount) -> Twilio:
    """An account over these connections."""
    first = held.auth_tokens[0].reveal()
    # An environment of its own: TWILIO_REGION and TWILIO_EDGE would change the host in silence.
    client = Client(
        held.account_sid,
        first,
        http_client=_OneAccount(http_client, held),
        environment={"TWILIO_REGION": ""},
    )
    return Twilio(client, held.account_sid)


@asynccontextmanager
async def connected(
    *, account_sid: str, auth_token: Secret, base_url: str, timeout_s: float = REQUEST_TIMEOUT_S
) -> AsyncIterator[Twilio]:
    """One account whose connections are closed at the end."""
    async with reached(base_url, timeout_s) as http_client:
        yield account(http_client, TwilioAccount(account_sid=account_sid, auth_tokens=(auth_token,)))


def _number(found: IncomingPhoneNumberInstance) -> CarrierNumber:
    able: Mapping[str, Any] = found.capabilities or {}
    return CarrierNumber(
        sid=str(found.sid),
        e164=str(found.phone_number),
        label=found.friendly_name or "",
        can_voice=bool(able.get("voice")),
        can_sms=bool(able.get("sms")),
        voice_url=found.voice_url or "",
        voice_fallback_url=found.voice_fallback_url or "",
        status_url=found.status_callback or "",
        sms_url=found.sms_url or "",
        is_diverted=bool(found.voice_application_sid or found.trunk_sid),
    )


def _call(found: CallInstance) -> CarrierCall:
    started: datetime | None = found.start_time
    ended: datetime | None = found.end_time
    return CarrierCall(
        provider_call_id=str(found.sid),
        status=str(found.status),
        duration_s=int(found.duration) if found.duration else None,
        started_at=started,
        ended_at=ended,
        to_number=found.to or "",
        is_inbound=found.direction == "inbound",
        parent=found.parent_call_sid,
    )
