"""Routes of the REST face: authentication, faults, errors as the vendor words them, and a journal entry each."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from turncall_phone.accounts import Account
from turncall_phone.clock import sleep
from turncall_phone.faults import RestFault
from turncall_phone.journal import RestAnswered
from turncall_phone.notices import API_VERSION
from turncall_phone.rest import calls, conferences, numbers, texts
from turncall_phone.rest.errors import RestError, not_found, suspended, unauthorized
from turncall_phone.switchboard import Switchboard

type Pairs = list[tuple[str, str]]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request: who asks, which resource (and whose call within it), and the parameters of query or
    body."""

    account: Account
    sid: str
    call_sid: str
    path: str
    pairs: Pairs


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back: a JSON body, or none."""

    status: int = 200
    body: dict[str, object] | None = None


type Handle = Callable[[Ask], Reply]


def add_rest_face(app: web.Application, board: Switchboard, *, is_strict: bool) -> None:
    """Put the API under `/2010-04-01` on `app`; `is_strict` refuses unknown parameters."""
    root = f"/{API_VERSION}/Accounts/{{account}}"
    face = _Face(board)

    def route(method: str, path: str, handle: Handle) -> None:
        app.router.add_route(method, root + path, face.guard(handle))

    def create_call(ask: Ask) -> Reply:
        return Reply(status=201, body=calls.create(board, ask.account, ask.pairs, is_strict=is_strict))

    def update_call(ask: Ask) -> Reply:
        return Reply(body=calls.update(board, ask.account, ask.sid, ask.pairs, ask.path, is_strict=is_strict))

    def delete_call(ask: Ask) -> Reply:
        calls.delete(board, ask.account, ask.sid, ask.path)
        return Reply(status=204)

    def list_calls(ask: Ask) -> Reply:
        return Reply(body=calls.index(board, ask.account, ask.pairs, ask.path, is_strict=is_strict))

    def update_number(ask: Ask) -> Reply:
        return Reply(body=numbers.update(board, ask.account, ask.sid, ask.pairs, ask.path, is_strict=is_strict))

    def list_numbers(ask: Ask) -> Reply:
        return Reply(body=numbers.index(board, ask.account, ask.pairs, ask.path, is_strict=is_strict))

    def create_text(ask: Ask) -> Reply:
        return Reply(status=201, body=texts.create(board, ask.account, ask.pairs, is_strict=is_strict))

    def list_texts(ask: Ask) -> Reply:
        return Reply(body=texts.index(board, ask.account, ask.pairs, ask.path, is_strict=is_strict))

    def fetch_account(ask: Ask) -> Reply:
        sid = ask.account.sid
        return Reply(body={"sid": sid, "status": "active", "type": "Full", "friendly_name": sid})

    route("GET", ".json", fetch_account)
    route("POST", "/Calls.json", create_call)
    route("GET", "/Calls.json", list_calls)
    route("GET", "/Calls/{sid}.json", lambda ask: Reply(body=calls.fetch(board, ask.account, ask.sid, ask.path)))
    route("POST", "/Calls/{sid}.json", update_call)
    route("DELETE", "/Calls/{sid}.json", delete_call)
    route("POST", "/Messages.json", create_text)
    route("GET", "/Messages.json", list_texts)
    route("GET", "/Messages/{sid}.json", lambda ask: Reply(body=texts.fetch(board, ask.account, ask.sid, ask.path)))
    route("GET", "/IncomingPhoneNumbers.json", list_numbers)
    route(
        "GET",
        "/IncomingPhoneNumbers/{sid}.json",
        lambda ask: Reply(body=numbers.fetch(board, ask.account, ask.sid, ask.path)),
    )
    route("POST", "/IncomingPhoneNumbers/{sid}.json", update_number)
    _add_conferences(route, board, is_strict=is_strict)
    app.router.add_route("*", f"/{API_VERSION}/{{rest:.*}}", face.guard(_nothing))


def _add_conferences(route: Callable[[str, str, Handle], None], board: Switchboard, *, is_strict: bool) -> None:
    def index(ask: Ask) -> Reply:
        return Reply(body=conferences.index(board, ask.account, ask.pairs, ask.path, is_strict=is_strict))

    def fetch(ask: Ask) -> Reply:
        return Reply(body=conferences.fetch(board, ask.account, ask.sid, ask.path))

    def update(ask: Ask) -> Reply:
        return Reply(body=conferences.update(board, ask.account, ask.sid, ask.pairs, ask.path, is_strict=is_strict))

    def participants(ask: Ask) -> Reply:
        shown = conferences.participants(board, ask.account, ask.sid, ask.pairs, ask.path, is_strict=is_strict)
        return Reply(body=shown)

    def participant(ask: Ask) -> Reply:
        return Reply(body=conferences.participant(board, ask.account, ask.sid, ask.call_sid, ask.path))

    def update_participant(ask: Ask) -> Reply:
        shown = conferences.update_participant(
            board, ask.account, ask.sid, ask.call_sid, ask.pairs, ask.path, is_strict=is_strict
        )
        return Reply(body=shown)

    def kick(ask: Ask) -> Reply:
        conferences.kick(board, ask.account, ask.sid, ask.call_sid, ask.path)
        return Reply(status=204)

    route("GET", "/Conferences.json", index)
    route("GET", "/Conferences/{sid}.json", fetch)
    route("POST", "/Conferences/{sid}.json", update)
    route("GET", "/Conferences/{sid}/Participants.json", participants)
    route("GET", "/Conferences/{sid}/Participants/{call_sid}.json", participant)
    route("POST", "/Conferences/{sid}/Participants/{call_sid}.json", update_participant)
    route("DELETE", "/Conferences/{sid}/Participants/{call_sid}.json", kick)


def _nothing(ask: Ask) -> Reply:
    raise not_found(ask.path)


class _Face:
    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def guard(self, handle: Handle) -> Callable[[web.Request], Awaitable[web.Response]]:
        """`handle` behind authentication and faults, its errors as JSON, its outcome in the journal."""

        async def answer(request: web.Request) -> web.Response:
            pairs = await _pairs(request)
            fault = self._board.faults.strike(
                RestFault, lambda f: f.method == request.method and f.path in request.path
            )
            if fault is None:
                reply, code = self._reply(handle, request, pairs)
            else:
                reply, code = await self._spoil(fault, handle, request, pairs)
                if fault.is_cut and request.transport is not None:
                    request.transport.abort()
            self._board.journal.add(
                RestAnswered(
                    method=request.method, path=request.path, form=tuple(pairs), status=reply.status, code=code
                )
            )
            if reply.body is None:
                return web.Response(status=reply.status)
            return web.json_response(body=msgspec.json.encode(reply.body), status=reply.status)

        return answer

    async def _spoil(
        self, fault: RestFault, handle: Handle, request: web.Request, pairs: Pairs
    ) -> tuple[Reply, int | None]:
        done = self._reply(handle, request, pairs) if fault.is_done or fault.status_code is None else None
        await sleep(self._board.clock, fault.delay_s)
        if done is not None and fault.status_code is None:
            return done
        status = fault.status_code or 500
        error = RestError(status, 20000 + status, "The request could not be served")
        return Reply(status=status, body=error.body()), error.code

    def _reply(self, handle: Handle, request: web.Request, pairs: Pairs) -> tuple[Reply, int | None]:
        try:
            account = self._authenticated(request)
            sid, call_sid = (request.match_info.get(name, "") for name in ("sid", "call_sid"))
            return handle(Ask(account=account, sid=sid, call_sid=call_sid, path=request.path, pairs=pairs)), None
        except RestError as error:
            return Reply(status=error.status, body=error.body()), error.code

    def _authenticated(self, request: web.Request) -> Account:
        """The account of the path, when the Basic credentials are its own; raises RestError."""
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise unauthorized() from error
        account = self._board.accounts.get(user)
        if scheme.lower() != "basic" or account is None:
            raise unauthorized()
        if not hmac.compare_digest(secret.encode(), account.auth_token.encode()):
            raise unauthorized()
        if request.match_info.get("account", account.sid) != account.sid:
            raise unauthorized()
        if account.is_suspended:
            raise suspended()
        return account


async def _pairs(request: web.Request) -> Pairs:
    query = parse_qsl(request.query_string, keep_blank_values=True)
    return query + parse_qsl(await request.text(), keep_blank_values=True)
