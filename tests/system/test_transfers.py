"""Callers who are connected to a person, and who come back: both planes as processes, operator phones on the emulated
carrier, several calls at a time. Whoever dies meanwhile takes nobody along."""

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from msgspec import Struct

from turncall.client.shapes import CallView, StoredFact
from turncall.demo.record import every_fact, holes
from turncall.process import Process
from turncall_phone.caller import (
    Answers,
    AnyPhone,
    AnyStep,
    Busy,
    HangUp,
    Machine,
    NeverAnswers,
    Pause,
    Press,
    Say,
    WaitForAgent,
    WaitForHangUp,
    samples_of,
)
from turncall_phone.calls import Call, CallStatus, EndOrder
from turncall_phone.faults import RestFault
from turncall_phone.journal import FaultStruck, Spoke, WebhookSent
from turncall_phone.tones import tone
from turncall_phone.twiml.verbs.dial import MUSIC_HZ
from turncall_proto.agent import TransferDestination, TransferTool
from turncall_proto.call import EndedReason
from turncall_testkit.house import ACCOUNT, House, reached, said

from .scripted import hears_hours, scripted
from .tones import CALLER_HZ, PERSON_HZ, hum, loudness

BRIEFING = "A caller asks for the hours."


async def calls_about(house: House, to: str, phone: AnyPhone, then: Sequence[AnyStep], **how: Any) -> Call:
    """A caller whom the agent is to connect to ``to``."""
    house.carrier.expect(to, phone)
    tool = TransferTool(destinations=(TransferDestination(name="desk", to=to),), **how)
    agent = scripted("Reception.", hears_hours("transfer_call", {"destination": "desk"}), tools=(tool,))
    _, number = await house.answering(agent, name=f"transfers to {to}, {how}")
    return await house.dial(number, [WaitForAgent(), said("hours"), *then])


class Kept(Struct, frozen=True):
    """What is left of a transfer."""

    call: Call
    operator: Call
    view: CallView
    facts: list[StoredFact]
    spoken: list[str]


async def kept_of(house: House, call: Call, to: str) -> Kept:
    """What there is once the call is over: a whole record, and one leg to the person."""
    await call.ended(timeout_s=90)
    view = await house.record_of(call)
    (operator,) = [each for each in house.carrier.calls if each.to == to]
    facts = await every_fact(house.api, view.id)
    assert holes(facts) == []
    assert view.missing_events == 0
    assert [fact.type for fact in facts].count("call.ended") == 1
    lines = (await house.api.transcript(view.id)).utterances
    return Kept(call, operator, view, list(facts), [line.text for line in lines if line.speaker == "agent"])


async def transferred(house: House, to: str, phone: AnyPhone, **how: Any) -> Kept:
    """A caller who is to be connected to ``to``; who is still there says goodbye to the agent when it is back."""
    is_taken = isinstance(phone, Answers) and how.get("accept_key", "1") == "1"
    goes_on = [*[step for _ in range(5) for step in (Pause(length_s=1.5), hum(CALLER_HZ))], WaitForHangUp()]
    comes_back = [WaitForHangUp(timeout_s=60)]
    call = await calls_about(house, to, phone, goes_on if is_taken else comes_back, **how)
    if not is_taken:
        await _says_goodbye_once_back(house, call)
    return await kept_of(house, call, to)


async def _says_goodbye_once_back(house: House, call: Call) -> None:
    """Hold music is no agent: the caller speaks when the agent has said something in the second epoch."""
    async for fact in house.api.follow((await house.live(call)).id):
        if fact.type == "transcript.final" and fact.epoch > 1:
            call.say(await samples_of(said("goodbye"), house.carrier.speak))
            return


def assert_taken(one: Kept) -> None:
    """Both heard each other, and the whole call is one."""
    who = one.operator.to
    assert types(one.facts) == ["transfer.answered", "call.transferred"], who
    assert (one.view.status, one.view.ended_reason) == ("completed", EndedReason.TRANSFERRED), who
    assert loudness(one.call.heard, PERSON_HZ) > 500, who
    assert loudness(one.operator.heard, CALLER_HZ) > 500, who
    assert one.view.duration_ms is not None
    assert one.view.duration_ms > 1000 * (one.operator.duration_s + 1), who


def assert_came_back(one: Kept, outcome: str, why: str, case: str) -> None:
    """The agent had the caller again, knew why, and ended the call."""
    assert (one.view.status, one.view.ended_reason) == ("completed", EndedReason.ASSISTANT_ENDED_CALL), case
    (failed,) = [fact for fact in one.facts if fact.type == "transfer.failed"]
    assert failed.data["outcome"] == outcome, case
    (told,) = [fact for fact in one.facts if fact.type == "context.injected"]
    assert told.epoch == 2, case
    assert told.data["source"] == failed.data["transfer_id"]
    assert told.data["text"].endswith(why), case
    assert one.spoken[-1] == "Bye.", case
    assert not {"call.resumed", "call.transferred"} & {fact.type for fact in one.facts}


def types(facts: list[StoredFact]) -> list[str]:
    return [fact.type for fact in facts if fact.type in ("transfer.answered", "call.transferred", "transfer.failed")]


def changes(facts: list[StoredFact]) -> list[tuple[str, str]]:
    """Who came, went, or was held in the room, in order."""
    return [(fact.data["party"], fact.data["change"]) for fact in facts if fact.type == "participant.changed"]


async def put_on_hold_for_a_second(house: House, to: str) -> None:
    """Whoever talks to ``to`` in a conference is held there by somebody else who may use the carrier's REST."""
    operator = await reached(house, to)
    await house.carrier.journal.first(
        lambda entry: (
            entry.call_sid == operator.sid
            and isinstance(entry.fact, WebhookSent)
            and entry.fact.purpose == "conference"
        ),
        timeout_s=60,
    )
    rooms = [room for room in house.carrier.exchange.conferences if room.find(operator.sid)]
    ((room, caller),) = [(room, one.call) for room in rooms for one in room if one.call is not operator]
    there = f"/2010-04-01/Accounts/{ACCOUNT.sid}/Conferences/{room.sid}/Participants/{caller.sid}.json"
    auth = (ACCOUNT.sid, ACCOUNT.auth_token)
    async with httpx.AsyncClient(base_url=house.carrier.base_url, auth=auth) as rest:
        assert (await rest.post(there, data={"Hold": "true"})).json()["hold"]
        await caller.line.wait_ms(1000)
        assert not (await rest.post(there, data={"Hold": "false"})).json()["hold"]


async def test_persons_take_callers_over(house: House) -> None:
    """Cold by number and by SIP address, warm by key and without: both hear each other, and the whole call is one.

    Who waits hears music, and who comes, goes or is held in the room is in the record.
    """
    talks = (hum(PERSON_HZ), Pause(length_s=4.0), HangUp())
    plain = Answers(script=(Pause(length_s=0.5), *talks))
    by_key = Answers(script=(WaitForAgent(), Press(digits="1"), Pause(length_s=1.7), *talks))
    warm = {"mode": "warm", "briefing": BRIEFING}
    *results, _ = await asyncio.gather(
        transferred(house, "+15550170001", plain),
        transferred(house, "sip:desk@example.com", plain),
        transferred(house, "+15550170002", by_key, accept_key="1", **warm),
        transferred(house, "+15550170003", Answers(script=(WaitForAgent(), *talks)), **warm),
        put_on_hold_for_a_second(house, "+15550170002"),
    )
    for one in results:
        assert_taken(one)
        assert one.spoken == ["Reception."]
    held: list[tuple[str, str]] = [("caller", "held"), ("caller", "unheld")]
    for one, meanwhile in zip(results[2:], (held, []), strict=True):
        assert one.operator.heard_texts[0].startswith(BRIEFING)
        assert not one.call.heard_texts
        assert loudness(one.call.heard, MUSIC_HZ[0]) > 300
        *talking, last, other = changes(one.facts)
        assert talking == [("caller", "joined"), ("person", "joined"), *meanwhile]
        assert {last, other} == {("caller", "left"), ("person", "left")}


async def test_callers_whom_nobody_takes_come_back(house: House) -> None:
    """Busy, declined by key, a machine, with a key that it does not press or told by the carrier: the agent has the
    caller again, knows why, and ends the call itself."""
    declines = Answers(script=(WaitForAgent(), Press(digits="2"), WaitForHangUp()))
    machine = Machine(greeting=Say(pcm=tone((PERSON_HZ,), 3000).tobytes()), hangs_up_after_s=60.0)
    warm = {"mode": "warm", "briefing": BRIEFING}
    expected = {
        "busy": ("busy", "The line was busy."),
        "busy, warm": ("busy", "The line was busy."),
        "declines": ("declined", "The person did not take the call."),
        "machine": ("machine", "A machine answered."),
        "machine, key": ("no_answer", "Nobody answered."),
    }
    results = await asyncio.gather(
        transferred(house, "+15550170004", Busy()),
        transferred(house, "+15550170005", Busy(), mode="warm"),
        transferred(house, "+15550170006", declines, accept_key="3", **warm),
        transferred(house, "+15550170007", machine, **warm),
        transferred(house, "+15550170008", machine, accept_key="1", **warm),
    )
    for one, (case, (outcome, why)) in zip(results, expected.items(), strict=True):
        assert_came_back(one, outcome, why, case)


async def killed(house: House, *processes: Process) -> None:
    """``kill -9``, all at once."""
    for process in processes:
        process.signal(signal.SIGKILL)
    await asyncio.gather(*(process.ended(timeout_s=10) for process in processes))


async def struck(house: House, call: Call, delay_s: float) -> None:
    """Returns when control has stored the transfer and asks the carrier for the caller, of which nothing comes."""
    fault = house.carrier.faults.add(RestFault(path=f"/Calls/{call.sid}", status_code=500, delay_s=delay_s))
    await house.carrier.journal.first(
        lambda entry: isinstance(entry.fact, FaultStruck) and entry.fact.fault_id == fault, timeout_s=60
    )


async def is_joined(house: House, to: str) -> None:
    """A person whom nobody briefs has picked up."""
    await (await reached(house, to)).answered(timeout_s=60)


async def is_briefed(house: House, to: str) -> Call:
    """The leg to a person who hears the briefing, and may take the call."""
    operator = await reached(house, to)
    await operator.answered(timeout_s=60)
    await house.carrier.journal.first(
        lambda entry: entry.call_sid == operator.sid and isinstance(entry.fact, Spoke), timeout_s=60
    )
    return operator


async def talk(house: House, call: Call, to: str) -> None:
    """The person and the caller say something, and the person hangs up."""
    operator = await reached(house, to)
    await operator.answered(timeout_s=60)
    await operator.line.wait_ms(1000)
    for one, hz in ((call, CALLER_HZ), (operator, PERSON_HZ)):
        one.say(np.frombuffer(hum(hz).pcm, dtype=np.int16))
    await operator.line.wait_ms(1500)
    operator.hang_up()


@pytest.mark.skipif("TURNCALL_DEATHS" not in os.environ, reason="wants both cores: TURNCALL_DEATHS=1")
async def test_deaths_in_the_middle_strand_nobody(house: House) -> None:
    """Workers are killed while one caller is on hold, one's person hears the briefing, one has just been joined, and of
    one control knows and the carrier does not; then control, between the wish and the carrier, and while another person
    is briefed and takes the call, and a third one's line turns out busy: everybody is joined or back with the agent."""
    on_hold, briefed, joined, asked = (f"+1555017002{digit}" for digit in range(4))
    in_vain, intended = "+15550170024", "+15550170025"
    warm: dict[str, Any] = {"mode": "warm", "briefing": BRIEFING, "accept_key": "1", "ring_s": 60}
    waits, answers = [WaitForHangUp(timeout_s=120)], Answers()
    calls = {
        to: await calls_about(house, to, phone, waits, **how)
        for to, phone, how in (
            (on_hold, NeverAnswers(), warm),
            (briefed, answers, warm),
            (joined, answers, {}),
            (asked, answers, {}),
        )
    }
    _, person, *_ = await asyncio.gather(
        struck(house, calls[asked], 4.0),
        is_briefed(house, briefed),
        reached(house, on_hold),
        is_joined(house, joined),
    )
    workers = [worker for worker in house.installation.workers if worker.is_running]
    await killed(house, *workers)
    person.press("1")
    again = asyncio.gather(*(house.installation.start_again(worker) for worker in workers))
    await asyncio.gather(*(talk(house, calls[to], to) for to in (briefed, joined, asked)))
    await again

    for to, how in ((in_vain, warm), (intended, {})):
        calls[to] = await calls_about(house, to, answers, waits, **how)
    _, person = await asyncio.gather(struck(house, calls[intended], 30.0), is_briefed(house, in_vain))
    (control,) = house.installation.controls
    await killed(house, control)
    person.press("1")
    (await reached(house, on_hold)).order(EndOrder(by="carrier", status=CallStatus.BUSY))
    await person.ended(timeout_s=60)
    await house.installation.start_again(control)
    await asyncio.gather(
        talk(house, calls[intended], intended),
        *(_says_goodbye_once_back(house, calls[to]) for to in (on_hold, in_vain)),
    )

    kept = {to: await kept_of(house, call, to) for to, call in calls.items()}
    for to in (briefed, joined, asked, intended):
        assert_taken(kept[to])
    assert_came_back(kept[on_hold], "busy", "The line was busy.", "on hold")
    assert_came_back(kept[in_vain], "declined", "The person did not take the call.", "in vain")
