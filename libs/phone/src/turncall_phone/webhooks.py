"""HTTP requests to the customer: signed, bounded in time, retried as the URL says, followed through redirects."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import unquote, urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
import msgspec
from aiohttp import ClientTimeout, CookieJar
from yarl import URL

from turncall_phone.clock import Clock, sleep
from turncall_phone.faults import AnswerFault, FaultPlan
from turncall_phone.journal import Journal, WebhookPurpose, WebhookSent
from turncall_phone.overrides import Overrides, split_overrides
from turncall_phone.signature import SIGNATURE_HEADER, sign, text_url, voice_url

MAX_REDIRECTS = 10
MAX_DOCUMENT_BYTES = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FORM_TYPE = "application/x-www-form-urlencoded"
_USER_AGENT = "TwilioProxy/1.1"
_TORN_XML = b"<?xml version='1.0'?><Response><Say>torn"

type Pairs = tuple[tuple[str, str], ...]
type FailureKind = Literal["ct", "rt", "broken"]


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One request to make: `url` may hold user info and a fragment of overrides; `params` go in order.

    `signs_port`: over https the signed URL keeps its port, as it does for texts and does not for calls.
    """

    purpose: WebhookPurpose
    url: str
    params: Pairs
    method: str = "POST"
    auth_token: str
    call_sid: str | None = None
    max_bytes: int = MAX_DOCUMENT_BYTES
    signs_port: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `url` is where it came from after redirects, without its fragment."""

    status: int
    content_type: str
    body: bytes
    url: str


class WebhookFailed(Exception):
    """No usable answer; `code` is the carrier's error code."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class _Reply(msgspec.Struct, frozen=True, kw_only=True):
    answer: Answer
    location: str = ""
    is_challenge: bool = False


class _AttemptFailed(Exception):
    def __init__(self, kind: FailureKind, code: int, detail: str) -> None:
        super().__init__(detail)
        self.kind: FailureKind = kind
        self.code = code
        self.detail = detail


class WebhookSender:
    """Makes webhook requests over one shared session and writes each attempt into the journal."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        clock: Clock,
        journal: Journal,
        faults: FaultPlan,
        defaults: Overrides,
    ) -> None:
        self._session = session
        self._clock = clock
        self._journal = journal
        self._faults = faults
        self._defaults = defaults

    async def send(self, hook: Webhook, cookies: CookieJar) -> Answer:
        """The answer to `hook`, whatever its status; raises WebhookFailed when none came.

        The whole exchange, retries and redirects included, has the `tt` of its URL (15 s unless it says less).
        Failures are retried by the URL's `rc` and `rp`, under one idempotency token.
        """
        url, overrides = split_overrides(hook.url, self._defaults)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise WebhookFailed(11100, f"{url!r} is not an absolute http(s) URL")
        try:
            async with asyncio.timeout(overrides.total_ms / 1000):
                return await self._with_retries(hook, url, overrides, cookies)
        except TimeoutError:
            raise WebhookFailed(11205, f"no answer from {url} within {overrides.total_ms} ms") from None

    async def _with_retries(self, hook: Webhook, url: str, overrides: Overrides, cookies: CookieJar) -> Answer:
        token = str(uuid.uuid4())
        attempt = 1
        while True:
            left = overrides.retries - (attempt - 1)
            try:
                answer = await self._follow(hook, url, overrides, cookies, token, attempt)
            except _AttemptFailed as failure:
                if left <= 0 or not overrides.retries_on(failure.kind):
                    raise WebhookFailed(failure.code, failure.detail) from failure
            else:
                if left <= 0 or not overrides.retries_on(f"{answer.status // 100}xx"):
                    return answer
            attempt += 1

    async def _follow(
        self, hook: Webhook, url: str, overrides: Overrides, cookies: CookieJar, token: str, attempt: int
    ) -> Answer:
        method = hook.method
        for _ in range(MAX_REDIRECTS + 1):
            request = _Request(hook, url, method, token, attempt, is_authorized=False)
            reply = await self._attempt(request, overrides, cookies)
            if reply.is_challenge and "@" in urlsplit(url).netloc:
                request = _Request(hook, url, method, token, attempt, is_authorized=True)
                reply = await self._attempt(request, overrides, cookies)
            if not reply.location:
                return reply.answer
            url = urljoin(url, reply.location).partition("#")[0]
            method = method if reply.answer.status in (307, 308) else "GET"
        raise _AttemptFailed("broken", 11215, f"more than {MAX_REDIRECTS} redirects, the last to {url}")

    async def _attempt(self, request: "_Request", overrides: Overrides, cookies: CookieJar) -> _Reply:
        started_s = self._clock.monotonic_s()
        fault = self._faults.strike(AnswerFault, lambda f: f.url in request.url, request.hook.call_sid)
        try:
            if fault is None:
                reply = await self._exchange(request, overrides, cookies)
            else:
                reply = await self._spoil(fault, request, overrides, cookies)
        except _AttemptFailed as failure:
            self._journal.add(request.outcome(failure, self._ms_since(started_s)), request.hook.call_sid)
            raise
        except asyncio.CancelledError:
            cut = _AttemptFailed("rt", 11205, "cut off by the total time limit")
            self._journal.add(request.outcome(cut, self._ms_since(started_s)), request.hook.call_sid)
            raise
        self._journal.add(request.outcome(reply.answer, self._ms_since(started_s)), request.hook.call_sid)
        return reply

    async def _exchange(self, request: "_Request", overrides: Overrides, cookies: CookieJar) -> _Reply:
        target = URL(request.wire_url, encoded=True)
        timeout = ClientTimeout(sock_connect=overrides.connect_ms / 1000, sock_read=overrides.read_ms / 1000)
        try:
            async with self._session.request(
                request.method,
                target,
                data=request.body,
                headers=request.headers(),
                cookies={name: morsel.value for name, morsel in cookies.filter_cookies(target).items()},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                cookies.update_cookies(response.cookies, response.url)
                body = b"".join([part async for part in _up_to(request.hook.max_bytes, response.content)])
                content_type = response.headers.get("Content-Type", "")
                return _Reply(
                    answer=Answer(status=response.status, content_type=content_type, body=body, url=request.url),
                    location=response.headers.get("Location", "") if response.status in _REDIRECTS else "",
                    is_challenge=response.status == 401 and "WWW-Authenticate" in response.headers,
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _classify(error, request.url) from error

    async def _spoil(self, fault: AnswerFault, request: "_Request", overrides: Overrides, cookies: CookieJar) -> _Reply:
        if fault.is_delivered:
            await self._exchange(request, overrides, cookies)
        if fault.effect == "timeout":
            await sleep(self._clock, overrides.read_ms / 1000)
            raise _AttemptFailed("rt", 11205, f"no answer from {request.url} within {overrides.read_ms} ms")
        if fault.effect == "reset":
            raise _AttemptFailed("ct", 11205, f"connection to {request.url} reset")
        status = fault.status_code if fault.effect == "status" else 200
        body = _TORN_XML if fault.effect == "bad_xml" else b""
        content_type = "image/png" if fault.effect == "bad_type" else "text/xml"
        return _Reply(answer=Answer(status=status, content_type=content_type, body=body, url=request.url))

    def _ms_since(self, started_s: float) -> float:
        return round((self._clock.monotonic_s() - started_s) * 1000, 3)


class _Request:
    """One attempt at one hop: what goes on the wire, and its journal entry."""

    def __init__(self, hook: Webhook, url: str, method: str, token: str, attempt: int, *, is_authorized: bool) -> None:
        self.hook, self.url, self.method, self.attempt = hook, url, method, attempt
        self._token, self._is_authorized = token, is_authorized
        parts = urlsplit(url)
        self._user_info, _, host = parts.netloc.rpartition("@")
        is_get = method == "GET"
        added = urlencode(hook.params) if is_get else ""
        query = "&".join(part for part in (parts.query, added) if part)
        self.wire_url = urlunsplit((parts.scheme, host, parts.path or "/", query, ""))
        self.body = None if is_get else urlencode(hook.params).encode()
        signed = text_url(self.wire_url) if hook.signs_port else voice_url(self.wire_url)
        self.signature = sign(hook.auth_token, signed, () if is_get else hook.params)

    def headers(self) -> dict[str, str]:
        """The request's headers; Basic credentials only once the server has asked for them."""
        headers = {
            SIGNATURE_HEADER: self.signature,
            "User-Agent": _USER_AGENT,
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": self._token,
        }
        if self.body is not None:
            headers["Content-Type"] = _FORM_TYPE
        if self._is_authorized:
            headers["Authorization"] = "Basic " + base64.b64encode(unquote(self._user_info).encode()).decode()
        return headers

    def outcome(self, result: Answer | _AttemptFailed, latency_ms: float) -> WebhookSent:
        """The journal's line about this attempt."""
        status, failure, size_bytes = None, None, 0
        if isinstance(result, Answer):
            status, size_bytes = result.status, len(result.body)
        else:
            failure = result.detail
        return WebhookSent(
            purpose=self.hook.purpose,
            method=self.method,
            url=self.url,
            params=self.hook.params,
            attempt=self.attempt,
            signature=self.signature,
            status=status,
            failure=failure,
            latency_ms=latency_ms,
            answer_bytes=size_bytes,
        )


async def _up_to(size_bytes: int, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Parts of the body, `size_bytes` in all at most: what is longer is cut, and refused by whoever reads it."""
    while size_bytes > 0 and (part := await content.read(size_bytes)):
        size_bytes -= len(part)
        yield part


def _classify(error: Exception, url: str) -> _AttemptFailed:
    """The carrier's code for a failure of the HTTP client."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _AttemptFailed("ct", 11237, f"certificate of {url} not trusted")
        case aiohttp.ClientSSLError():
            return _AttemptFailed("ct", 11220, f"TLS handshake with {url} failed")
        case aiohttp.ClientConnectorDNSError():
            return _AttemptFailed("ct", 11210, f"the host of {url} is not known")
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return _AttemptFailed("ct", 11205, f"no connection to {url}: {type(error).__name__}")
        case TimeoutError():
            return _AttemptFailed("rt", 11205, f"no answer from {url} in time")
        case aiohttp.InvalidURL() | ValueError():
            return _AttemptFailed("broken", 11100, f"{url!r} is not a URL that can be asked")
        case aiohttp.ClientConnectionError() | OSError():
            return _AttemptFailed("broken", 11205, f"connection to {url} broke: {type(error).__name__}")
        case _:
            return _AttemptFailed("broken", 11206, f"{url} does not speak HTTP: {type(error).__name__}")
