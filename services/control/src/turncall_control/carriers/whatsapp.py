"""WhatsApp's Cloud API: Graph requests, those for one sender's messages, and the signature on its webhooks."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Struct

from turncall_control.carriers.base import (
    Barred,
    CarrierError,
    Gone,
    LimitReached,
    NoSuchNumber,
    NotAuthorised,
    NotPermitted,
    NotReached,
    Rejected,
    SentText,
    Template,
    TextOrder,
    TextStanding,
    Unavailable,
    WindowClosed,
)
from turncall_control.wallet import WhatsAppSender
from turncall_runtime.secret import Secret

PROVIDER: Final = "whatsapp"
SIGNATURE_HEADER: Final = "x-hub-signature-256"
VERSION: Final = "v23.0"
REQUEST_TIMEOUT_S: Final = 10.0
LONGEST: Final = 4096
"""Characters of one text message (developers.facebook.com, Cloud API: text messages)."""

_NO_SUCH_NUMBER: Final = frozenset({131009, 131021, 131026, 133010, 138001})
"""The recipient is malformed, ourselves, not on WhatsApp, or our number is not registered."""
_BARRED: Final = frozenset({10, 200, 368, 130497, 131005, 131031, 131045, 131049, 131050, 138000, 138013})
"""The account may not write to this country, this person, or anybody."""
_LIMITS: Final = frozenset({4, 80007, 130429, 131048, 131056, 138002, 138005, 138009, 138012})
_WINDOW_CLOSED: Final = 131047
_NOT_PERMITTED: Final = 138006
_TOKEN: Final = frozenset({0, 190})


def is_signed(body: bytes, signature: str, app_secrets: Sequence[Secret]) -> bool:
    """Whether Meta signed these raw bytes with one of the app's secrets; False for garbage."""
    how, _, given = signature.partition("=")
    if how != "sha256" or not given.isascii():
        return False
    made = [hmac.digest(secret.reveal().encode(), body, sha256).hex() for secret in app_secrets]
    return any(hmac.compare_digest(given.lower(), one) for one in made)


class _Error(Struct, frozen=True, kw_only=True):
    code: int = 0
    message: str = ""


class _Refusal(Struct, frozen=True, kw_only=True):
    error: _Error


class _Sent(Struct, frozen=True, kw_only=True):
    id: str


class _Answer(Struct, frozen=True, kw_only=True):
    messages: tuple[_Sent, ...]


class _Phone(Struct, frozen=True, kw_only=True):
    display_phone_number: str


class Graph:
    """Connections to the Graph API, for any number of senders."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, timeout_s: float) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s

    async def ask(self, method: str, path: str, token: Secret, body: dict[str, Any] | None = None) -> bytes:
        """One request, sent once. Raises a `CarrierError`."""
        url = f"{self._base_url}/{VERSION}/{path}"
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(method, url, json=body, headers=headers, allow_redirects=False) as response,
            ):
                answer = await response.read()
        except TimeoutError as error:
            raise Unavailable(f"WhatsApp did not answer {method} within {self._timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise NotReached(f"WhatsApp cannot be reached: {type(error).__name__}") from error
        except aiohttp.ClientError as error:
            raise Unavailable(f"WhatsApp cannot be reached: {type(error).__name__}") from error
        if response.status != 200:
            raise _refused(response.status, answer)
        return answer


class WhatsApp:
    """One sender: a number of a WhatsApp business account."""

    provider = PROVIDER

    def __init__(self, graph: Graph, sender: WhatsAppSender) -> None:
        self._graph = graph
        self._sender = sender
        self.account = sender.phone_number_id

    async def send_text(self, order: TextOrder) -> str:
        """Has WhatsApp send a message; its id of it. Posted once; statuses bring ``order.reference`` back."""
        what = _template(order.template) if order.template is not None else _text(order.body)
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": order.to_number.removeprefix("+"),
            "biz_opaque_callback_data": order.reference,
            **what,
        }
        answer = await self._post(body)
        try:
            return msgspec.json.decode(answer, type=_Answer).messages[0].id
        except (msgspec.DecodeError, IndexError) as error:
            raise Unavailable("WhatsApp gave an answer that is not understood") from error

    async def sent_texts(self, from_number: str, to_number: str, since: datetime) -> list[SentText] | None:
        """None: WhatsApp lists no messages; a status says what became of one."""
        return None

    async def fetch_text(self, provider_message_id: str) -> TextStanding | None:
        """None: WhatsApp shows no message; its webhooks come again until they are answered."""
        return None

    async def mark_read(self, provider_message_id: str, *, is_typing: bool) -> None:
        """Shows the writer that a message was read, and whether an answer is being written."""
        read = {"messaging_product": "whatsapp", "status": "read", "message_id": provider_message_id}
        await self._post({**read, "typing_indicator": {"type": "text"}} if is_typing else read)

    async def number(self) -> str:
        """The sender's number in E.164. Raises `Gone` for an id of nothing, `NotAuthorised` for a wrong token."""
        path = f"{self.account}?fields=display_phone_number"
        answer = await self._graph.ask("GET", path, self._sender.access_token)
        try:
            shown = msgspec.json.decode(answer, type=_Phone).display_phone_number
        except msgspec.DecodeError as error:
            raise Unavailable("WhatsApp gave an answer that is not understood") from error
        return "+" + "".join(digit for digit in shown if digit.isdigit())

    async def _post(self, body: dict[str, Any]) -> bytes:
        return await self._graph.ask("POST", f"{self.account}/messages", self._sender.access_token, body)


@asynccontextmanager
async def reached(base_url: str, timeout_s: float = REQUEST_TIMEOUT_S) -> AsyncIterator[Graph]:
    """Connections to the Graph API; closed at the end."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Graph(session, base_url, timeout_s)


def _text(body: str) -> dict[str, Any]:
    return {"type": "text", "text": {"body": body, "preview_url": "://" in body}}


def _template(template: Template) -> dict[str, Any]:
    parameters = [{"type": "text", "text": text} for text in template.parameters]
    components = [{"type": "body", "parameters": parameters}] if parameters else []
    shown = {"name": template.name, "language": {"code": template.language}, "components": components}
    return {"type": "template", "template": shown}


def _refused(status: int, answer: bytes) -> CarrierError:
    try:
        error = msgspec.json.decode(answer, type=_Refusal).error
    except msgspec.DecodeError:
        error = _Error()
    code = error.code
    if status >= 500:
        return Unavailable(f"WhatsApp answered {status}", code=code)
    if code in _LIMITS or status == 429:
        return LimitReached(f"WhatsApp {code}: too many requests or messages", code=code)
    if code in _TOKEN or status in (401, 403):
        return NotAuthorised("WhatsApp does not accept the access token", code=code)
    if code == _WINDOW_CLOSED:
        return WindowClosed(f"WhatsApp {code}: more than 24 hours since the contact wrote", code=code)
    if code in _NO_SUCH_NUMBER:
        return NoSuchNumber(f"WhatsApp {code}: the contact cannot be reached", code=code)
    if code == _NOT_PERMITTED:
        return NotPermitted(f"WhatsApp {code}: the person has not let this number call", code=code)
    if code in _BARRED:
        return Barred(f"WhatsApp {code}: the account may not write there", code=code)
    if status == 404 or (code == 100 and "does not exist" in error.message):
        return Gone(f"WhatsApp {code}: no such object for this token", code=code)
    return Rejected(f"WhatsApp {code}: refused", code=code)
