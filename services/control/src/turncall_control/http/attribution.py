"""Whom a request is attributed to while it is served, and what is kept of its answer."""

from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from turncall_control import idempotency
from turncall_control.db import failures
from turncall_control.db.act import Act, Answer, acting, current
from turncall_control.db.engine import in_project
from turncall_control.http.address import client_address
from turncall_control.http.observation import request_id

REPLAYED: Final = "Idempotency-Replayed"


class Replayed(Exception):
    """The request was answered before: what it is to be answered again."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("answered before")
        self.answer = answer


def attributed(app: ASGIApp, trusted: tuple[IPv4Network | IPv6Network, ...]) -> ASGIApp:
    """Around the application, inside `observed`: every request is an `Act`, and a key it held in vain is given back."""

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        act, status = Act(request_id(scope), client_address(scope, trusted)), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    await _given_back(act)
            await send(message)

        with acting(act):
            await app(scope, receive, sent)

    return named


async def concluded(response: Response[Any]) -> Response[Any]:
    """After a handler has returned and before its transaction ends: what that transaction is to keep of the answer."""
    act = current()
    if act is None or act.database is None:
        return response
    status, media_type = response.status_code or 200, str(response.media_type or "application/json")
    body = response.render(response.content, media_type) if act.claim is not None else b""
    act.answer = Answer(status=status, media_type=media_type, body=body)
    if act.has_session or not (act.claim is not None or (act.is_audited and act.entries == 0)):
        return response
    # The handler's own transactions are over: one more, in which the listeners write what is left to write.
    if act.project_id is not None:
        async with in_project(act.database, act.project_id):
            return response
    async with act.database.system() as session, session.begin():
        return response


def replay(request: Request[Any, Any, Any], error: Replayed) -> Response[bytes]:
    """The stored answer, marked as such."""
    answer = error.answer
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type, headers={REPLAYED: "true"})


async def _given_back(act: Act) -> None:
    claim, act.claim, act.answer = act.claim, None, None
    if claim is None or act.database is None:
        return
    try:
        await idempotency.release(act.database, claim, is_refused=act.is_refused)
    except failures.FAILURES as error:
        # It ends by itself, a minute after it was claimed.
        if not failures.is_away(error):
            raise
