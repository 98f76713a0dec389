"""The control face: what a test or a terminal asks of a carrier that runs in another process.

It has no authentication: the carrier listens on loopback unless told otherwise.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from turncall_phone.accounts import NumberTaken
from turncall_phone.caller import Answers, Press, Say, samples_of, spoken
from turncall_phone.calls import Call, CallOver
from turncall_phone.control_shapes import (
    ArmedFault,
    CallList,
    CallView,
    DialOrder,
    FaultList,
    Inbox,
    JournalPage,
    NumberSetting,
    PhoneSetting,
    PressOrder,
    Refusal,
    TextOrder,
    TextPhoneSetting,
    TextView,
)
from turncall_phone.faults import AnyFault
from turncall_phone.switchboard import NotOurNumber, Switchboard
from turncall_phone.texting import Text
from turncall_phone.tones import GAP_MS, TONE_MS
from turncall_phone.wav import write_wav

MAX_WAIT_S = 30.0
PAGE_ENTRIES = 500

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_control_face(app: web.Application, board: Switchboard) -> None:
    """Put the routes under `/emulator` on `app`."""
    face = _Face(board)
    routes: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/numbers", face.numbers),
        ("POST", "/numbers", face.set_number),
        ("POST", "/phones", face.set_phone),
        ("POST", "/dial", face.dial),
        ("POST", "/texts", face.write_text),
        ("POST", "/text-phones", face.set_text_phone),
        ("GET", "/texts/{phone_number}", face.inbox),
        ("GET", "/calls", face.calls),
        ("GET", "/calls/{sid}", face.call),
        ("GET", "/calls/{sid}/heard.wav", face.heard),
        ("GET", "/calls/{sid}/said.wav", face.said),
        ("POST", "/calls/{sid}/press", face.press),
        ("POST", "/calls/{sid}/say", face.say),
        ("POST", "/calls/{sid}/hang-up", face.hang_up),
        ("GET", "/journal", face.journal),
        ("GET", "/faults", face.faults),
        ("POST", "/faults", face.add_fault),
        ("DELETE", "/faults", face.clear_faults),
        ("DELETE", "/faults/{id}", face.withdraw_fault),
    )
    for method, path, handler in routes:
        app.router.add_route(method, "/emulator" + path, _guarded(handler))


def view(call: Call) -> CallView:
    """What is shown of a call."""
    return CallView(
        sid=call.sid,
        direction=call.direction,
        to=call.to,
        from_=call.from_,
        status=call.status,
        is_over=call.is_over,
        line_ms=call.line.at_ms,
        agent_speaking=call.agent_speaking,
        heard_texts=call.heard_texts,
    )


def text_view(text: Text) -> TextView:
    """What is shown of a text."""
    return TextView(
        sid=text.sid,
        to=text.to,
        from_=text.from_,
        body=text.body,
        status=text.status,
        error_code=text.error_code,
    )


class _Face:
    def __init__(self, board: Switchboard) -> None:
        self._board = board

    async def numbers(self, _: web.Request) -> web.Response:
        return _json(tuple(self._board.numbers))

    async def set_number(self, request: web.Request) -> web.Response:
        wanted = await _body(request, NumberSetting)
        if self._board.numbers.find(wanted.phone_number) is None:
            account_sid = wanted.account_sid or next(iter(self._board.accounts))
            if account_sid not in self._board.accounts:
                raise NotOurNumber("no such account: numbers belong to the accounts that the carrier was started with")
            self._board.numbers.add(account_sid, wanted.phone_number, self._board.clock.now())
        changed = self._board.configure(
            wanted.phone_number,
            voice_url=wanted.voice_url,
            voice_fallback_url=wanted.voice_fallback_url,
            status_callback=wanted.status_callback,
            sms_url=wanted.sms_url,
            sms_fallback_url=wanted.sms_fallback_url,
        )
        return _json(changed)

    async def set_phone(self, request: web.Request) -> web.Response:
        wanted = await _body(request, PhoneSetting)
        if isinstance(wanted.phone, Answers):
            for voice in {step.voice for step in spoken(wanted.phone.script)}:
                await asyncio.to_thread(self._board.speak, "", voice)
        self._board.expect(wanted.phone_number, wanted.phone)
        return _json(wanted)

    async def write_text(self, request: web.Request) -> web.Response:
        order = await _body(request, TextOrder)
        return _json(text_view(self._board.texts.write(to=order.to, from_=order.from_, body=order.body)), 201)

    async def set_text_phone(self, request: web.Request) -> web.Response:
        wanted = await _body(request, TextPhoneSetting)
        self._board.texts.expect(wanted.phone_number, wanted.phone)
        return _json(wanted)

    async def inbox(self, request: web.Request) -> web.Response:
        arrived = self._board.texts.inbox(request.match_info["phone_number"])
        return _json(Inbox(texts=tuple(text_view(text) for text in arrived)))

    async def dial(self, request: web.Request) -> web.Response:
        order = await _body(request, DialOrder)
        return _json(view(await self._board.dial(to=order.to, from_=order.from_, script=order.script)), 201)

    async def calls(self, _: web.Request) -> web.Response:
        return _json(CallList(calls=tuple(view(call) for call in self._board.calls)))

    async def call(self, request: web.Request) -> web.Response:
        return _json(view(self._find(request)))

    async def heard(self, request: web.Request) -> web.Response:
        return web.Response(body=write_wav(self._find(request).heard), content_type="audio/wav")

    async def said(self, request: web.Request) -> web.Response:
        return web.Response(body=write_wav(self._find(request).said), content_type="audio/wav")

    async def press(self, request: web.Request) -> web.Response:
        call = self._find(request)
        keys = Press(digits=(await _body(request, PressOrder)).digits)
        for digit in keys.digits:
            call.press(digit)
            await asyncio.sleep((TONE_MS + GAP_MS) / 1000)
        return _json(view(call))

    async def say(self, request: web.Request) -> web.Response:
        call = self._find(request)
        call.say(await samples_of(await _body(request, Say), self._board.speak))
        return _json(view(call))

    async def hang_up(self, request: web.Request) -> web.Response:
        call = self._find(request)
        call.hang_up()
        return _json(view(call))

    async def journal(self, request: web.Request) -> web.Response:
        """Entries after `after`, of one `call` or of all; waits up to `wait_s` for the first."""
        call_sid = request.query.get("call")
        after = int(request.query.get("after", "0"))
        wait_s = min(float(request.query.get("wait_s", "0")), MAX_WAIT_S)
        journal = self._board.journal
        if wait_s > 0:
            try:
                await journal.first(lambda e: e.number > after and call_sid in (None, e.call_sid), timeout_s=wait_s)
            except TimeoutError:
                return _json(JournalPage(entries=()))
        entries = tuple(e for e in journal.entries(call_sid) if e.number > after)
        return _json(JournalPage(entries=entries[:PAGE_ENTRIES]))

    async def faults(self, _: web.Request) -> web.Response:
        armed = tuple(ArmedFault(id=fault_id, fault=fault) for fault_id, fault in self._board.faults.armed())
        return _json(FaultList(faults=armed))

    async def add_fault(self, request: web.Request) -> web.Response:
        body = await request.read()
        fault = msgspec.json.decode(body, type=AnyFault)
        return _json(ArmedFault(id=self._board.faults.add(fault), fault=fault), 201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._board.faults.clear()
        return web.Response(status=204)

    async def withdraw_fault(self, request: web.Request) -> web.Response:
        if not self._board.faults.withdraw(int(request.match_info["id"])):
            raise LookupError("no such fault is armed: it has struck or never was")
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Call:
        call = self._board.calls.find(request.match_info["sid"])
        if call is None:
            raise LookupError("the carrier knows no call with this SID")
        return call


def _guarded(handler: Handler) -> Handler:
    """Errors of what was asked become 400, 404 or 409 with a reason."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except LookupError as error:
            return _json(Refusal(error=str(error.args[0])), 404)
        except CallOver as error:
            return _json(Refusal(error=str(error)), 409)
        except (NotOurNumber, NumberTaken, msgspec.DecodeError, ValueError, OSError) as error:
            return _json(Refusal(error=str(error)), 400)

    return answer


async def _body[T](request: web.Request, shape: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=shape)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
