"""The one guard: who asks, may they, and is the id in the path one of the right kind."""

import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from multidict import MultiMapping

from turncall_control import idempotency, visitors
from turncall_control.auth import GRANTS, Caller, Finds, Permission
from turncall_control.db.act import PLATFORM, Act, Answer, current
from turncall_control.errors import Fault, Forbidden, Invalid, NotFound, RateLimited, Unauthorised
from turncall_control.http.address import neighbourhood
from turncall_control.http.attribution import Replayed
from turncall_control.http.fields import Moment
from turncall_control.http.methods import SHARED
from turncall_control.http.observation import told
from turncall_control.http.wording import no_such, one_of
from turncall_control.plane import Plane
from turncall_control.rates import Bucket, Verdict
from turncall_proto import ids
from turncall_runtime.secret import Secret

PLATFORM_HEADER: Final = "x-platform-key"
IDEMPOTENCY_HEADER: Final = "idempotency-key"
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)

Connection = ASGIConnection[Any, Any, Any, Any]


async def admit(connection: Connection, handler: BaseRouteHandler) -> None:
    """Lets a request through to its handler, with its `Caller` in the connection's state.

    Raises `Unauthorised`, `RateLimited`, `Forbidden`, `NotFound` for an id of the wrong form (it names nothing in any
    project), and `Invalid` for a query parameter that the route does not have, or that is none of what it may be.
    """
    if "permission" not in handler.opt:
        # Litestar's own answer to OPTIONS, which tells the methods; no route of ours starts without a declaration.
        return
    permission: Permission = handler.opt["permission"]
    finds: Finds = handler.opt["finds"]
    plane: Plane = connection.app.state.plane
    if permission in (Permission.OPEN, Permission.SIGNED):
        return
    if permission is Permission.CALLS_CONNECT:
        told(connection.scope).update(SHARED)
    act = current()
    assert act is not None, "attributed() is around every application"
    neighbours = neighbourhood(act.address)
    caller = await _recognised(plane, connection, permission, neighbours)
    await _count(plane, connection, caller, neighbours)
    if caller is not None:
        if permission not in GRANTS[caller.role]:
            raise Forbidden(f"this needs {permission}, which the role {caller.role} does not have")
        connection.state.caller = caller
    check_ids(finds, connection.path_params)
    check_query(handler.opt["query"], connection.query_params)
    check_moments(handler.opt["moments"], connection.query_params)
    check_choices(handler.opt["choices"], connection.query_params)
    act.database, act.operation, act.has_session = plane.database, handler.handler_name, handler.opt["has_session"]
    act.actor, act.project_id = (PLATFORM, None) if caller is None else (caller.key_id, caller.project_id)
    act.object_id = connection.path_params[finds.parameter] if finds.how == "path" else ""
    act.is_audited = handler.opt["audited"]
    if isinstance(connection, Request) and connection.method == "POST":
        await _claim(act, connection, handler, connection.headers.get(IDEMPOTENCY_HEADER))


async def _claim(act: Act, request: Request[Any, Any, Any], handler: BaseRouteHandler, key: str | None) -> None:
    """Lets the request with this key through once. Raises `Invalid`, `Replayed`, and what `idempotency.claim` does."""
    if key is None:
        return
    if not handler.opt["idempotent"] or act.project_id is None or act.database is None:
        raise Invalid.at("Idempotency-Key", "This operation takes none: its answer is not kept")
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid.at("Idempotency-Key", "It needs 1 to 255 visible ASCII characters")
    body = sha256(_comparable(await request.body(), request.content_type[1])).digest()
    asked = f"{request.method} {request.scope['path']}\n".encode()
    found = await idempotency.claim(act.database, act.project_id, key, sha256(asked + body).digest())
    if isinstance(found, Answer):
        raise Replayed(found)
    act.claim = found


def _comparable(body: bytes, options: Mapping[str, str]) -> bytes:
    """The body as it is each time it is sent: clients make up the boundary of a form anew."""
    boundary = options.get("boundary", "").encode()
    return body.replace(boundary, b"") if boundary else body


async def _recognised(plane: Plane, connection: Connection, permission: Permission, neighbours: str) -> Caller | None:
    """The caller; None for the operator. Raises `Unauthorised`, and `RateLimited` for an address that guesses."""
    key = bearer(connection.headers.get("authorization", ""))
    if permission is not Permission.PLATFORM and (caller := plane.keyring.remembered(key)) is not None:
        return caller
    guesses = Bucket(name="refused", of=neighbours, per_minute=plane.config.rate_refused_per_minute)
    _admit(await plane.rates.take([guesses], cost=0))
    try:
        if permission is Permission.PLATFORM:
            check_platform_key(plane.config.platform_key, connection.headers.get(PLATFORM_HEADER, ""))
            return None
        if permission is Permission.CALLS_CONNECT and visitors.is_token(key):
            return await visitors.visitor(plane.database.pool, plane.config.key_peppers, key)
        return await plane.keyring.caller(key)
    except Unauthorised:
        await plane.rates.take([guesses])
        raise


async def _count(plane: Plane, connection: Connection, caller: Caller | None, neighbours: str) -> None:
    """Charges the address, and the key and its project. Raises `RateLimited`."""
    buckets = [Bucket(name="address", of=neighbours, per_minute=plane.config.rate_address_per_minute)]
    if caller is not None:
        buckets.append(
            Bucket(
                name="key",
                of=caller.visit.call_id if caller.visit else caller.key_id,
                per_minute=plane.config.rate_key_per_minute,
            )
        )
        limits = (await plane.settings.of(caller.project_id)).limits
        if limits.requests_per_minute is not None:
            buckets.append(Bucket(name="project", of=caller.project_id, per_minute=limits.requests_per_minute))
    verdict = await plane.rates.take(buckets)
    _admit(verdict)
    told(connection.scope).update(verdict.headers)


def _admit(verdict: Verdict) -> None:
    if not verdict.is_admitted:
        raise RateLimited(
            f"{verdict.bucket.per_minute} requests a minute are allowed for this {verdict.bucket.name}",
            headers=verdict.headers,
        )


def caller_of(connection: Connection) -> Caller:
    """Whose key came with the request; only for routes that ask for a role's permission."""
    caller: Caller = connection.state.caller
    return caller


def check_platform_key(wanted: Secret, given: str) -> None:
    """Raises `Unauthorised` unless the operator has set a platform key and this is it."""
    if not wanted or not hmac.compare_digest(wanted.reveal().encode(), given.encode("utf-8", "surrogateescape")):
        raise Unauthorised("X-Platform-Key is missing or wrong")


def check_ids(finds: Finds, path_params: Mapping[str, str]) -> None:
    """Raises `NotFound` unless the ids in the path are of the kinds that the route finds its object by."""
    while finds.how == "path":
        try:
            ids.parsed(finds.prefix, path_params[finds.parameter])
        except ids.MalformedId as error:
            raise NotFound from error
        if finds.within is None:
            return
        finds = finds.within


def check_query(known: Collection[str], given: Iterable[str]) -> None:
    """Raises `Invalid` for parameters that the route does not have: a misspelt filter must not list everything."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise Invalid(faults=[Fault(field=name, message=no_such("parameter", name, known)) for name in unknown])


def check_moments(names: Collection[str], given: MultiMapping[str]) -> None:
    """Raises `Invalid` for what is not RFC 3339 with an offset: Litestar would read a number as seconds since 1970."""
    for name in names:
        for text in given.getall(name, []):
            try:
                msgspec.convert(text, Moment)
            except msgspec.ValidationError as error:
                raise Invalid.at(name, "It needs a date, a time and an offset: 2026-01-31T12:00:00Z") from error


def check_choices(choices: Mapping[str, Collection[str]], given: MultiMapping[str]) -> None:
    """Raises `Invalid` for a word that is none of those that the parameter may be, which it names."""
    for name, words in choices.items():
        for text in given.getall(name, []):
            if text not in words:
                raise Invalid.at(name, one_of(words))


def bearer(header: str) -> str:
    """The key in an Authorization header; empty when there is none."""
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
