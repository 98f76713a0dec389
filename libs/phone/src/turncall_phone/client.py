"""The typed client of the control face, for a carrier that runs in another process."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from turncall_phone.accounts import Number
from turncall_phone.caller import AnyPhone, AnyStep, Say
from turncall_phone.calls import CallOver, CallStatus
from turncall_phone.control_face import MAX_WAIT_S
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
from turncall_phone.journal import Entry, StatusChanged
from turncall_phone.texting import AnyTextPhone


class CarrierRefused(Exception):
    """The carrier refused a request; `status` is HTTP's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the carrier answered {status}: {reason}")
        self.status = status


class CarrierClient:
    """Asks a running carrier at `base_url` (`http://127.0.0.1:4010`). Enter it to connect, leave it to close.

    Requests raise CarrierRefused for an answer that is an error, and aiohttp.ClientError without an answer.
    """

    def __init__(self, base_url: str, *, timeout_s: float = 10.0) -> None:
        self._root = base_url.rstrip("/") + "/emulator"
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def numbers(self) -> tuple[Number, ...]:
        """All owned numbers."""
        return await self._ask("GET", "/numbers", shape=tuple[Number, ...])

    async def set_number(self, setting: NumberSetting) -> Number:
        """Add a number, or change what it does when called."""
        return await self._ask("POST", "/numbers", setting, shape=Number)

    async def set_phone(self, phone_number: str, phone: AnyPhone) -> None:
        """Say how the phone at a number behaves when it is called."""
        await self._ask("POST", "/phones", PhoneSetting(phone_number=phone_number, phone=phone), shape=PhoneSetting)

    async def dial(self, *, to: str, from_: str, script: Sequence[AnyStep] = ()) -> "RemoteCall":
        """Place an inbound call; returns while it rings. WAV paths in the script are the carrier's own."""
        order = DialOrder(to=to, from_=from_, script=tuple(script))
        view = await self._ask("POST", "/dial", order, shape=CallView)
        return RemoteCall(self, view.sid)

    async def write_text(self, *, to: str, from_: str, body: str) -> TextView:
        """Have a person at `from_` write to an owned number."""
        return await self._ask("POST", "/texts", TextOrder(to=to, from_=from_, body=body), shape=TextView)

    async def set_text_phone(self, phone_number: str, phone: AnyTextPhone) -> None:
        """Say how the phone at a number takes texts."""
        setting = TextPhoneSetting(phone_number=phone_number, phone=phone)
        await self._ask("POST", "/text-phones", setting, shape=TextPhoneSetting)

    async def inbox(self, phone_number: str) -> tuple[TextView, ...]:
        """The texts that arrived on a phone, oldest first."""
        return (await self._ask("GET", f"/texts/{phone_number}", shape=Inbox)).texts

    async def calls(self) -> tuple[CallView, ...]:
        """All calls, oldest first."""
        return (await self._ask("GET", "/calls", shape=CallList)).calls

    async def call(self, sid: str) -> CallView:
        """One call as it stands."""
        return await self._ask("GET", f"/calls/{sid}", shape=CallView)

    async def say(self, sid: str, say: Say) -> None:
        """Let the caller say something after what is being said."""
        await self._ask("POST", f"/calls/{sid}/say", say, shape=CallView)

    async def press(self, sid: str, digits: str) -> None:
        """Press keys, 200 ms each."""
        await self._ask("POST", f"/calls/{sid}/press", PressOrder(digits=digits), shape=CallView)

    async def hang_up(self, sid: str) -> None:
        """Put the caller's phone down."""
        await self._ask("POST", f"/calls/{sid}/hang-up", shape=CallView)

    async def heard_wav(self, sid: str) -> bytes:
        """What the caller heard so far, as a WAV of mono 16-bit at 8 kHz."""
        return await self._request("GET", f"/calls/{sid}/heard.wav", None, self._timeout_s)

    async def said_wav(self, sid: str) -> bytes:
        """What the caller said so far, on the same time line."""
        return await self._request("GET", f"/calls/{sid}/said.wav", None, self._timeout_s)

    async def journal(self, *, call_sid: str | None = None, after: int = 0, wait_s: float = 0.0) -> tuple[Entry, ...]:
        """Up to 500 entries numbered above `after`; waits up to `wait_s` (30 at most) when there is none yet."""
        path = f"/journal?after={after}&wait_s={wait_s}" + (f"&call={call_sid}" if call_sid else "")
        timeout_s = self._timeout_s + min(wait_s, MAX_WAIT_S)
        body = await self._request("GET", path, None, timeout_s)
        return msgspec.json.decode(body, type=JournalPage).entries

    async def faults(self) -> tuple[ArmedFault, ...]:
        """The faults that wait to strike."""
        return (await self._ask("GET", "/faults", shape=FaultList)).faults

    async def add_fault(self, fault: AnyFault) -> int:
        """Arm a fault; returns its id."""
        return (await self._ask("POST", "/faults", fault, shape=ArmedFault)).id

    async def withdraw_fault(self, fault_id: int) -> None:
        """Disarm one fault."""
        await self._request("DELETE", f"/faults/{fault_id}", None, self._timeout_s)

    async def clear_faults(self) -> None:
        """Disarm all faults."""
        await self._request("DELETE", "/faults", None, self._timeout_s)

    async def _ask[T](self, method: str, path: str, body: msgspec.Struct | None = None, *, shape: type[T]) -> T:
        return msgspec.json.decode(await self._request(method, path, body, self._timeout_s), type=shape)

    async def _request(self, method: str, path: str, body: msgspec.Struct | None, timeout_s: float) -> bytes:
        if self._session is None:
            raise RuntimeError("the client is not connected: enter it with `async with`")
        data = msgspec.json.encode(body) if body is not None else None
        async with asyncio.timeout(timeout_s), self._session.request(method, self._root + path, data=data) as response:
            answer = await response.read()
            if response.status >= 400:
                raise CarrierRefused(response.status, _reason(answer))
            return answer


def _reason(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=Refusal).error
    except msgspec.DecodeError:
        return "no reason given: is this a carrier's control face?"


@contextmanager
def _call_over() -> Iterator[None]:
    try:
        yield
    except CarrierRefused as error:
        if error.status == 409:
            raise CallOver(str(error)) from error
        raise


class RemoteCall:
    """A call of the other process, as a handset: what a person does with it, and what it reports."""

    def __init__(self, client: CarrierClient, sid: str) -> None:
        self._client = client
        self.sid = sid

    async def say(self, what: str | Say) -> None:
        """Say a text in the carrier's voice, or what a `Say` holds; raises CallOver."""
        with _call_over():
            await self._client.say(self.sid, Say(text=what) if isinstance(what, str) else what)

    async def press(self, digits: str) -> None:
        """Press keys; raises CallOver."""
        with _call_over():
            await self._client.press(self.sid, digits)

    async def hang_up(self) -> None:
        """Put the phone down."""
        await self._client.hang_up(self.sid)

    async def reports(self) -> AsyncIterator[Entry]:
        """The call's journal from its start, until it is over."""
        after = 0
        while True:
            for entry in await self._client.journal(call_sid=self.sid, after=after, wait_s=10.0):
                after = entry.number
                yield entry
                if isinstance(entry.fact, StatusChanged) and CallStatus(entry.fact.status).is_final:
                    return
