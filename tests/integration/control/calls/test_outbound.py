"""Calls that users ask for, with an emulated carrier that rings phones: dialled once each, whatever goes wrong."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio
from psycopg.types.json import Jsonb

from turncall_control.dials.queue import CLAIM_EVERY_S
from turncall_control.dials.resolving import GIVE_UP_AFTER_S
from turncall_control.settings import WEEK
from turncall_phone import Account, Answers, Busy, Call, Carrier, HangUp, NeverAnswers, Say, Unreachable, WaitForHangUp
from turncall_phone.caller import AnyPhone, Declines, Machine, Refused
from turncall_phone.faults import CallbackFault, RestFault
from turncall_phone.tones import tone
from turncall_proto import ids
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, OptOutAsked
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.subjects import act
from turncall_testkit.config import amounts
from turncall_testkit.media_sockets import Media, taking_sockets

NUMBER = "+15550100009"
ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=(NUMBER,))
STREAM_KEYS = "t1:a-secret-of-this-test"
RATE_PER_S = 100.0
SLOTS = 2000
"""More than there are calls of which it is not known what became of them: each keeps room for its answer."""
ANSWERED = ("completed", "customer_ended_call")


@dataclass
class House:
    """A control plane whose number is bound at the emulated carrier, and a worker with a media socket."""

    desk: Any
    carrier: Carrier
    media: Media

    def person(self, phone: AnyPhone) -> str:
        """The number of a person with this phone."""
        number = f"+1415{uuid4().int % 10**7:07d}"
        self.carrier.expect(number, phone)
        return number

    async def asks(self, to: str, key: str = "", **wanted: Any) -> httpx.Response:
        """A user asks for a call."""
        body = {"to": to, "from": NUMBER, "agent_id": self.desk.agent_id} | wanted
        headers = self.desk.bearer | ({"Idempotency-Key": key} if key else {})
        answer: httpx.Response = await self.desk.http.post("/v1/calls/outbound", json=body, headers=headers)
        return answer

    async def calls(self, to: str, **wanted: Any) -> str:
        """A user asks for a call and gets one; its id."""
        answer = await self.asks(to, **wanted)
        assert answer.status_code == 201, answer.text
        shown = answer.json()["call"]
        assert (shown["status"], shown["direction"], shown["to_number"]) == ("initiated", "outbound", to)
        call_id: str = shown["id"]
        return call_id

    def placed(self, to: str) -> list[Call]:
        """What the carrier placed to a number."""
        return [call for call in self.carrier.calls if call.to == to]

    @asynccontextmanager
    async def policy(self, rules: dict[str, Any]) -> AsyncIterator[None]:
        """Has the project call by these rules meanwhile."""
        await self._settle({"outbound": rules})
        try:
            yield
        finally:
            await self._settle({})

    async def _settle(self, settings: dict[str, Any]) -> None:
        project = ids.parsed(ids.PROJECT, self.desk.project_id)
        await self.desk.execute("update projects set settings = %s where id = %s", Jsonb(settings), project)
        self.desk.plane.settings.forget(self.desk.project_id)

    async def number_id(self) -> str:
        """The id of the number that calls are made from."""
        ((number,),) = await self.desk.rows("select id from numbers where e164 = %s", NUMBER)
        return ids.written(ids.NUMBER, number)

    async def is_put_off(self, call_id: str, until: datetime) -> bool:
        """Whether a call waits in the queue, and at least until then."""
        row = ids.parsed(ids.CALL, call_id)
        return bool(
            await self.desk.rows(
                "select from dials where call_id = %s and state = 'queued' and due_at >= %s", row, until
            )
        )

    async def are_asked(self, calls: Iterable[str]) -> bool:
        """Whether the carrier was asked for all of these, and its answers are lost or not."""
        rows = [ids.parsed(ids.CALL, call_id) for call_id in calls]
        found = await self.desk.rows("select from dials where call_id = any(%s) and state = 'queued'", rows)
        unanswered = await self.desk.rows(
            "select from dials where call_id = any(%s) and state = 'asked' and look_at > now() + interval '6 s'", rows
        )
        return not found and not unanswered

    async def make_older(self, calls: Iterable[str], seconds: float) -> None:
        """As if the carrier had been asked for these so much earlier."""
        await self.desk.execute(
            "update dials set asked_at = asked_at - %s, look_at = now() where call_id = any(%s)",
            timedelta(seconds=seconds),
            [ids.parsed(ids.CALL, call_id) for call_id in calls],
        )

    async def ended(self, call_id: str, timeout_s: float = 20.0) -> tuple[str, str]:
        """How a call ended, once its last word was said."""
        await self.desk.comes(call_id, "call.ended", timeout_s=timeout_s)
        shown = await self.desk.call(call_id)
        return shown["status"], shown["ended_reason"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any, open_worker: Any) -> AsyncIterator[House]:
    async with AsyncExitStack() as running:
        carrier = await running.enter_async_context(Carrier([ACCOUNT]))
        desk = await running.enter_async_context(
            open_desk(None, is_reachable=True, twilio_base_url=carrier.base_url, dial_rate_per_s=RATE_PER_S)
        )
        worker = await running.enter_async_context(open_worker(desk))
        worker.slots = SLOTS
        media = await running.enter_async_context(taking_sockets(worker, STREAM_KEYS))
        routing = {"kind": "agent", "agent_id": desk.agent_id}
        bound = await desk.http.post("/v1/numbers", json={"number": NUMBER, "routing": routing}, headers=desk.bearer)
        assert bound.status_code == 201, bound.text
        yield House(desk, carrier, media)


async def test_an_agent_calls_somebody(house: House) -> None:
    """The person is rung once and is connected to the agent, who hangs up; a repeated request asks for nothing more."""
    house.media.deeds = ["hangs up"]
    person = house.person(Answers(script=(WaitForHangUp(),)))
    asked = [await house.asks(person, "the-same", variables={"name": "Ada"}, metadata={"ticket": "7"}) for _ in "ab"]
    assert [answer.status_code for answer in asked] == [201, 201], asked[0].text
    call_id = asked[0].json()["call"]["id"]
    assert asked[1].json()["call"]["id"] == call_id

    assert await house.ended(call_id) == ("completed", "assistant_ended_call")
    (call,) = house.placed(person)
    shown = await house.desk.call(call_id)
    assert (shown["provider_call_id"], shown["variables"], shown["from_number"]) == (call.sid, {"name": "Ada"}, NUMBER)
    types = await house.desk.types(call_id)
    told = [tag for tag in types if tag.startswith("call.")]
    assert told == ["call.initializing", "call.ringing", "call.answered", "call.started", "call.ended"]
    plan = house.media.worker.offers[-1].plan
    assert (plan.direction, plan.to_number, plan.provider_call_id) == ("outbound", person, call.sid)
    listed = await house.desk.get("/v1/calls", params={"direction": "outbound", "metadata": "ticket:7"})
    assert [item["id"] for item in listed.json()["items"]] == [call_id]


async def test_an_unanswered_call_says_why(house: House) -> None:
    """Whatever the phone, the network or the carrier does, the call ends in the state and for the reason that fit."""
    expected: dict[AnyPhone, tuple[str, str]] = {
        Busy(): ("busy", "customer_busy"),
        Declines(): ("busy", "rejected"),
        NeverAnswers(): ("no_answer", "customer_did_not_answer"),
        Unreachable(): ("failed", "invalid_number"),
        Refused(code=21211): ("failed", "invalid_number"),
        Refused(code=21215): ("failed", "blocked"),
        Refused(code=21219): ("failed", "blocked"),
        Refused(code=21210): ("failed", "blocked"),
        Refused(code=20005): ("failed", "blocked"),
        Refused(code=10004): ("failed", "carrier_limit"),
    }
    people = {phone: house.person(phone) for phone in expected}
    calls = {phone: await house.calls(person, ring_timeout_s=5) for phone, person in people.items()}
    # A limit is waited for with growing pauses; this call has waited long enough.
    limited = ids.parsed(ids.CALL, calls[Refused(code=10004)])
    await house.desk.execute("update dials set tries = 8, due_at = now() where call_id = %s", limited)

    assert {phone: await house.ended(call_id, timeout_s=20) for phone, call_id in calls.items()} == expected
    for phone, person in people.items():
        assert len(house.placed(person)) == (0 if isinstance(phone, Refused) else 1)
    assert "call.ringing" in await house.desk.types(calls[Busy()])
    refusals = await house.desk.rows(
        "select (payload->>'carrier_code')::int, payload->>'refusal' from call_events"
        " where call_id = any(%s) and type = 'dial.failed'",
        [ids.parsed(ids.CALL, call_id) for call_id in calls.values()],
    )
    assert dict(refusals) == {
        21211: "invalid_number",
        21215: "blocked",
        21219: "unverified",
        21210: "unverified",
        20005: "out_of_credit",
        10004: "rate_limited",
    }


async def test_a_call_is_cancelled_before_it_is_dialled_and_while_it_rings(house: House) -> None:
    """One that waits for its time is never placed; one that rings stops ringing."""
    later, ringing = house.person(Answers()), house.person(NeverAnswers())
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    waits, rings = await house.calls(later, not_before=in_an_hour), await house.calls(ringing)
    await house.desk.becomes(rings, status="ringing")
    assert (await house.desk.call(waits))["status"] == "initiated"
    for call_id in (waits, rings):
        answer = await house.desk.http.post(f"/v1/calls/{call_id}/end", headers=house.desk.bearer)
        assert answer.json() == {"taken_by": "carrier"}, answer.text
        assert await house.ended(call_id) == ("failed", "canceled")
    assert house.placed(later) == []
    (call,) = house.placed(ringing)
    assert call.status == "canceled"


async def test_a_draft_is_called_by_name_alone(house: House) -> None:
    """A named draft speaks; an archived version and one of nobody do not, and neither does a number of nobody."""
    desk = house.desk
    draft = ids.mint(ids.VERSION)
    await desk.execute(
        "insert into agent_versions (id, project_id, agent_id, number, state, config)"
        " select %s, project_id, agent_id, 2, 'draft', config from agent_versions where id = %s",
        ids.parsed(ids.VERSION, draft),
        ids.parsed(ids.VERSION, desk.version_id),
    )
    person = house.person(Answers(script=(HangUp(),)))
    call_id = await house.calls(person, agent_id=None, version_id=draft)
    assert await house.ended(call_id) == ("completed", "customer_ended_call")
    assert (await desk.call(call_id))["version_id"] == draft

    await desk.execute("update agent_versions set state = 'archived' where id = %s", ids.parsed(ids.VERSION, draft))
    for wanted, field in (
        ({"agent_id": None, "version_id": draft}, "version_id"),
        ({"agent_id": ids.mint(ids.AGENT)}, "agent_id"),
        ({"agent_id": None}, "agent_id"),
        ({"from": "+15550100001"}, "from"),
        ({"not_before": "2100-01-01T00:00:00Z"}, "not_before"),
        ({"timezone": "Nowhere/City"}, "timezone"),
    ):
        answer = await house.asks(person, **wanted)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
    assert len(house.placed(person)) == 1


@pytest.mark.proves(
    "settings.outbound.calling_hours.begins",
    "settings.outbound.calling_hours.ends",
    "settings.outbound.calling_hours.weekdays",
)
async def test_a_call_outside_the_hours_waits_for_them(house: House) -> None:
    """A call for another day is not dialled, and says when it is to be; when the hours come it is dialled by itself."""
    person = house.person(Answers(script=(HangUp(),)))
    now = datetime.now(ZoneInfo("Asia/Tokyo"))
    today, next_week = WEEK[now.weekday()], (now + timedelta(days=6)).date()
    not_today = WEEK[next_week.weekday()]
    async with house.policy({"calling_hours": {"begins": "08:30", "ends": "20:00", "weekdays": [not_today]}}):
        answer = (await house.asks(person, timezone="Asia/Tokyo")).json()
        due_at = datetime.fromisoformat(answer["due_at"]).astimezone(now.tzinfo)
        assert (due_at.date(), f"{due_at:%H:%M}") == (next_week, "08:30")
        # The hours are looked at again when it is due: they may have changed since.
        call_id = answer["call"]["id"]
        row = ids.parsed(ids.CALL, call_id)
        await house.desk.execute("update dials set due_at = now() where call_id = %s", row)
        await house.desk.comes_true(lambda: house.is_put_off(call_id, due_at))
        assert house.placed(person) == []
        unknown = await house.asks("+8881234567")
        assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "timezone")
    hours = {"begins": "00:00", "ends": "24:00", "weekdays": [today, WEEK[(now.weekday() + 1) % 7]]}
    async with house.policy({"calling_hours": hours}):
        await house.desk.execute("update dials set due_at = now() where call_id = %s", row)
        assert await house.ended(call_id) == ("completed", "customer_ended_call")


@pytest.mark.proves("settings.outbound.allowed_prefixes")
async def test_only_allowed_numbers_are_called(house: House) -> None:
    """Another number is refused at once, and one that is no longer allowed when its time comes is blocked."""
    person = house.person(Answers())
    later = await house.calls(person, not_before=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    async with house.policy({"allowed_prefixes": ["+49", "+4420"]}):
        refused = await house.asks(person)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:turncall:problem:destination-not-allowed")
        row = ids.parsed(ids.CALL, later)
        await house.desk.execute("update dials set due_at = now() where call_id = %s", row)
        assert await house.ended(later) == ("failed", "blocked")
    assert house.placed(person) == []


async def test_who_asks_not_to_be_called_is_not(house: House) -> None:
    """Put on the list by the API or by the person, before or after a call was asked for, a number is not dialled."""
    desk, person, later = house.desk, house.person(Answers(script=(HangUp(),))), house.person(Answers())
    call_id = await house.calls(person)
    assert await house.ended(call_id) == ANSWERED
    waits = await house.calls(later, not_before=(datetime.now(UTC) + timedelta(hours=1)).isoformat())

    async def opts_out(conversation: str, project_id: str) -> ActReply:
        asked = OptOutAsked(
            act_id="a1",
            call_id=CallId(conversation),
            project_id=ProjectId(project_id),
            deadline=datetime.now(UTC) + timedelta(seconds=10),
        )
        return decode(await desk.plane.bus.ask(act("opt_out"), encode(asked), timeout_s=10), ActReply)

    strangers = ids.mint(ids.PROJECT)
    for conversation, project_id in ((call_id, strangers), (ids.mint(ids.CALL), desk.project_id), ("x", strangers)):
        assert not (await opts_out(conversation, project_id)).is_taken
    for _ in range(2):
        assert (await opts_out(call_id, desk.project_id)).is_taken
    body = {"numbers": [person, later, later], "note": "by letter"}
    listed = await desk.http.put("/v1/do-not-call", json=body, headers=desk.bearer)
    assert listed.json() == {"added": 1, "known": 1}
    entries = (await desk.get("/v1/do-not-call")).json()["items"]
    assert [(entry["number"], entry["listed_by"], entry["note"]) for entry in entries] == [
        (later, "api", "by letter"),
        (person, "person", ""),
    ]
    for number in (person, later):
        refused = await house.asks(number)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:turncall:problem:on-do-not-call-list")
    await desk.execute("update dials set due_at = now() where call_id = %s", ids.parsed(ids.CALL, waits))
    assert await house.ended(waits) == ("failed", "blocked")
    assert (len(house.placed(person)), house.placed(later)) == (1, [])

    (entry,) = (await desk.get("/v1/do-not-call", params={"number": person})).json()["items"]
    gone = await desk.http.delete(f"/v1/do-not-call/{entry['id']}", headers=desk.bearer)
    assert gone.status_code == 204
    assert await house.ended(await house.calls(person)) == ANSWERED


async def test_a_call_waits_for_room(house: House) -> None:
    """While no worker has room for it, or a limit of calls is reached, a call is not dialled; then it is."""
    person = house.person(Answers(script=(HangUp(),)))
    worker = house.media.worker
    worker.slots = 0
    try:
        await house.desk.comes_true(lambda: house.desk.plane.workers.room("calls", "outbound") == 0)
        call_id = await house.calls(person)
        await house.desk.execute(
            "update numbers set max_concurrent_calls = 0 where id = %s", ids.parsed(ids.NUMBER, await house.number_id())
        )
        # Several rounds of looking.
        await asyncio.sleep(4 * CLAIM_EVERY_S)
        assert house.placed(person) == []
    finally:
        worker.slots = SLOTS
    await house.desk.comes_true(lambda: house.is_put_off(call_id, datetime.now(UTC)))
    assert house.placed(person) == []
    await house.desk.execute(
        "update numbers set max_concurrent_calls = null where id = %s", ids.parsed(ids.NUMBER, await house.number_id())
    )
    assert await house.ended(call_id) == ("completed", "customer_ended_call")


async def test_no_call_is_dialled_twice_when_answers_are_lost(house: House) -> None:
    """The carrier's answers are lost, with and without its having acted, with and without its webhooks.

    Each call is placed once or never, and ends as the carrier saw it end, or as one that was never placed.
    """
    many = amounts(os.environ).test_unknown_dials // 5
    lost: dict[str, tuple[RestFault, AnyPhone, bool, tuple[str, str]]] = {
        "done, 500": (_lost(many, is_done=True), Answers(script=(HangUp(),)), True, ANSWERED),
        "done, cut": (_lost(many, is_done=True, is_cut=True), Busy(), True, ("busy", "customer_busy")),
        "done, 500, silent": (_lost(many, is_done=True), Busy(), False, ("busy", "customer_busy")),
        "not done, 500": (_lost(many), Answers(), True, ("failed", "telephony_failed")),
        "not done, cut": (_lost(many, is_cut=True), Answers(), True, ("failed", "telephony_failed")),
    }
    for name, (fault, phone, speaks, expected) in lost.items():
        if not speaks:
            house.carrier.faults.add(CallbackFault(effect="drop", times=10 * many))
        house.carrier.faults.add(fault)
        people = {house.person(phone): "" for _ in range(many)}
        for person in people:
            people[person] = await house.calls(person)
        await house.desk.comes_true(lambda people=people: house.are_asked(people.values()), timeout_s=30 + many)
        if not fault.is_done:
            await house.make_older(people.values(), GIVE_UP_AFTER_S)
        for person, call_id in people.items():
            assert await house.ended(call_id, timeout_s=30 + many) == expected, name
            placed = house.placed(person)
            assert len(placed) == (1 if fault.is_done else 0), name
            if placed:
                assert (await house.desk.call(call_id))["provider_call_id"] == placed[0].sid
        house.carrier.faults.clear()


async def test_two_calls_between_the_same_numbers_are_told_apart(house: House) -> None:
    """While it is not known what became of one, the other waits; a webhook with our id corrects a wrong guess."""
    person = house.person(NeverAnswers())
    house.carrier.faults.add(_lost(1))
    first, second = await house.calls(person), await house.calls(person)
    await house.desk.comes_true(lambda: house.are_asked([first]))
    await asyncio.sleep(4 * CLAIM_EVERY_S)
    assert house.placed(person) == []
    await house.make_older([first], GIVE_UP_AFTER_S)
    assert await house.ended(first) == ("failed", "telephony_failed")
    await house.desk.becomes(second, status="ringing", timeout_s=20)
    (call,) = house.placed(person)

    # As if the call had been taken for another one of the carrier's list.
    row = ids.parsed(ids.CALL, second)
    await house.desk.execute("update calls set provider_call_id = 'CA' || repeat('0', 32) where id = %s", row)
    await house.desk.execute("update dials set is_found = true where call_id = %s", row)
    call.hang_up()
    assert await house.ended(second) == ("no_answer", "customer_did_not_answer")
    assert (await house.desk.call(second))["provider_call_id"] == call.sid


def _lost(times: int, **effects: bool) -> RestFault:
    return RestFault(path="/Calls.json", times=times, **effects)


async def test_the_carrier_listens_for_machines(house: House) -> None:
    """A person is connected, and the worker told; a machine that the agent has nothing to say to is hung up on."""
    greeting = Say(pcm=tone((220, 440), 3000, amplitude=4000).tobytes())
    hello = Say(pcm=tone((220, 440), 500, amplitude=4000).tobytes())
    person, machine = house.person(Answers(script=(hello, WaitForHangUp()))), house.person(Machine(greeting=greeting))
    house.media.deeds = ["hangs up"]
    calls = [await house.calls(to, answering_machine_detection="carrier") for to in (person, machine)]
    assert await house.ended(calls[1], timeout_s=20) == ("completed", "voicemail")
    types = await house.desk.types(calls[1])
    assert "voicemail.detected" in types
    assert "call.started" not in types
    assert await house.ended(calls[0], timeout_s=20) == ("completed", "assistant_ended_call")
    plans = {offer.plan.call_id: offer.plan for offer in house.media.worker.offers}
    assert plans[calls[0]].answered_by == "human"
    assert calls[1] not in plans
