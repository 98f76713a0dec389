"""Each request: its id, taken from the caller when harmless and echoed, its time, its one line in the access log."""

import re
import time
from typing import Final, cast
from uuid import uuid4

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Histogram

from turncall_runtime import logs
from turncall_runtime.metrics import REQUEST_BUCKETS_S

HEADER: Final = "X-Request-ID"
_HARMLESS = re.compile(rb"[A-Za-z0-9._-]{8,128}")
_KEY = "turncall_request_id"
_TOLD = "turncall_told"

log = logs.logger("turncall_control.access")


def request_id(scope: Scope) -> str:
    """The id of this request."""
    return cast("str", scope["state"].get(_KEY, ""))


def told(scope: Scope) -> dict[str, str]:
    """Header fields that go with the answer to this request, whatever it will be."""
    return cast("dict[str, str]", scope["state"].setdefault(_TOLD, {}))


def request_seconds(registry: CollectorRegistry) -> Histogram:
    """How long requests took, by route, method and status."""
    return Histogram(
        "turncall_http_request_seconds",
        "From a request's arrival to the end of its answer.",
        ("route", "method", "status"),
        buckets=REQUEST_BUCKETS_S,
        registry=registry,
    )


def observed(app: ASGIApp, seconds: Histogram) -> ASGIApp:
    """Around the whole application: names the request and its log lines, times it, writes one line when it is done.

    Neither holds a path parameter, query, body or address: the route's template, the status, the time it took.
    """

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        name = _given(scope) or uuid4().hex
        scope["state"][_KEY] = name
        started_s = time.perf_counter()
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                headers = MutableScopeHeaders.from_message(message)
                headers[HEADER] = name
                for field, value in told(scope).items():
                    headers.setdefault(field, value)
            await send(message)

        with logs.bound(request_id=name):
            try:
                await app(scope, receive, answered)
            finally:
                took_s = time.perf_counter() - started_s
                # What no route takes may be named anything: it is counted as one.
                route = scope.get("path_template") or "none"
                method = scope["method"] if route != "none" else "any"
                seconds.labels(route, method, status).observe(took_s)
                log.info("request", method=method, route=route, status=status, duration_ms=round(took_s * 1000, 1))

    return named


def _given(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _HARMLESS.fullmatch(value):
            return value.decode()
    return ""
