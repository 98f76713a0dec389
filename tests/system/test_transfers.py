"""Callers who are connected to a person, and who come back: both planes as processes, operator phones on the emulated
carrier, several calls at a time."""

import asyncio
from typing import Any

import httpx
import numpy as np

from turncall.client.shapes import CallView, StoredFact
from turncall.demo.record import every_fact
from turncall_phone.caller import (
    Answers,
    AnyPhone,
    Busy,
    HangUp,
    Machine,
    Pause,
    Press,
    Say,
    WaitForAgent,
    WaitForHangUp,
    samples_of,
)
from turncall_phone.calls import Call
from turncall_phone.journal import WebhookSent
from turncall_phone.tones import tone
from turncall_phone.twiml.verbs.dial import MUSIC_HZ
from turncall_proto.agent import TransferDestination, TransferTool
from turncall_proto.call import EndedReason
from turncall_testkit.house import ACCOUNT, House, reached, said

from .scripted import hears_hours, scripted

CALLER_HZ, PERSON_HZ = 500, 900
BRIEFING = "A caller asks for the hours."


def hum(hz: int) -> Say:
    """A voice that is one tone."""
    return Say(pcm=tone((hz,), 700).tobytes())


def loudness(pcm: bytes, hz: int) -> float:
    """How much of a tone is in what was heard."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(abs(np.exp(2j * np.pi * hz * np.arange(len(samples)) / 8000) @ samples)) / 8000


async def transferred(
    house: House, to: str, phone: AnyPhone, **how: Any
) -> tuple[Call, Call | None, CallView, list[StoredFact], list[str]]:
    """A caller who is to be connected to ``to``; who is still there says goodbye to the agent when it is back."""
    house.carrier.expect(to, phone)
    tool = TransferTool(destinations=(TransferDestination(name="desk", to=to),), **how)
    agent = scripted("Reception.", hears_hours("transfer_call", {"destination": "desk"}), tools=(tool,))
    _, number = await house.answering(agent, name=f"transfers to {to}, {how}")
    is_taken = isinstance(phone, Answers) and how.get("accept_key", "1") == "1"
    goes_on = [*[step for _ in range(5) for step in (Pause(length_s=1.5), hum(CALLER_HZ))], WaitForHangUp()]
    comes_back = [WaitForHangUp(timeout_s=60)]
    takes = [WaitForAgent(), said("hours"), *(goes_on if is_taken else comes_back)]
    call = await house.dial(number, takes)
    if not is_taken:
        await _says_goodbye_once_back(house, call)
    await call.ended(timeout_s=60)
    view = await house.record_of(call)
    operator = next((each for each in house.carrier.calls if each.to == to), None)
    spoken = [line.text for line in (await house.api.transcript(view.id)).utterances if line.speaker == "agent"]
    return call, operator, view, await every_fact(house.api, view.id), spoken


async def _says_goodbye_once_back(house: House, call: Call) -> None:
    """Hold music is no agent: the caller speaks when the agent has said something in the second epoch."""
    async for fact in house.api.follow((await house.live(call)).id):
        if fact.type == "transcript.final" and fact.epoch > 1:
            call.say(await samples_of(said("goodbye"), house.carrier.speak))
            return


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
    for call, operator, view, facts, spoken in results:
        assert operator is not None
        assert types(facts) == ["transfer.answered", "call.transferred"], operator.to
        assert (view.status, view.ended_reason) == ("completed", EndedReason.TRANSFERRED)
        assert spoken == ["Reception."]
        assert loudness(call.heard, PERSON_HZ) > 500, operator.to
        assert loudness(operator.heard, CALLER_HZ) > 500, operator.to
        assert view.duration_ms is not None
        assert view.duration_ms > 1000 * (operator.duration_s + 1)
    held: list[tuple[str, str]] = [("caller", "held"), ("caller", "unheld")]
    for (call, operator, _, facts, _), meanwhile in zip(results[2:], (held, []), strict=True):
        assert operator is not None
        assert operator.heard_texts[0].startswith(BRIEFING)
        assert not call.heard_texts
        assert loudness(call.heard, MUSIC_HZ[0]) > 300
        *talking, last, other = changes(facts)
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
    for (_, _, view, facts, spoken), (case, (outcome, why)) in zip(results, expected.items(), strict=True):
        assert (view.status, view.ended_reason) == ("completed", EndedReason.ASSISTANT_ENDED_CALL), case
        (failed,) = [fact for fact in facts if fact.type == "transfer.failed"]
        assert failed.data["outcome"] == outcome, case
        (told,) = [fact for fact in facts if fact.type == "context.injected"]
        assert told.epoch == 2
        assert told.data["source"] == failed.data["transfer_id"]
        assert told.data["text"].endswith(why)
        assert spoken[-1] == "Bye."
        assert not {"call.resumed", "call.transferred"} & {fact.type for fact in facts}
