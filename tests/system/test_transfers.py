"""Callers who are connected to a person, and who come back: both planes as processes, operator phones on the emulated
carrier, several calls at a time."""

import asyncio
from typing import Any

import numpy as np

from turncall.client.shapes import CallView, StoredFact
from turncall.demo.record import every_fact
from turncall_phone.caller import (
    Answers,
    AnyPhone,
    Busy,
    HangUp,
    Pause,
    Press,
    Say,
    WaitForAgent,
    WaitForHangUp,
    samples_of,
)
from turncall_phone.calls import Call
from turncall_phone.tones import tone
from turncall_proto.agent import TransferDestination, TransferTool
from turncall_proto.call import EndedReason
from turncall_testkit.house import House, said

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
    is_taken = isinstance(phone, Answers) and how.get("accept_key", "1") in ("1", "")
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


async def test_persons_take_callers_over(house: House) -> None:
    """Cold by number and by SIP address, warm by key and without: both hear each other, and the whole call is one."""
    talks = (hum(PERSON_HZ), Pause(length_s=4.0), HangUp())
    plain = Answers(script=(Pause(length_s=0.5), *talks))
    by_key = Answers(script=(WaitForAgent(), Press(digits="1"), Pause(length_s=0.7), *talks))
    warm = {"mode": "warm", "briefing": BRIEFING}
    results = await asyncio.gather(
        transferred(house, "+15550170001", plain),
        transferred(house, "sip:desk@example.com", plain),
        transferred(house, "+15550170002", by_key, accept_key="1", **warm),
        transferred(house, "+15550170003", Answers(script=(WaitForAgent(), *talks)), **warm),
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
    for call, operator, *_ in results[2:]:
        assert operator is not None
        assert operator.heard_texts[0].startswith(BRIEFING)
        assert not call.heard_texts


async def test_callers_whom_nobody_takes_come_back(house: House) -> None:
    """Busy, declined by key, nobody there: the agent has the caller again, knows why, and ends the call itself."""
    declines = Answers(script=(WaitForAgent(), Press(digits="2"), WaitForHangUp()))
    results = await asyncio.gather(
        transferred(house, "+15550170004", Busy()),
        transferred(house, "+15550170005", Busy(), mode="warm"),
        transferred(house, "+15550170006", declines, mode="warm", briefing=BRIEFING, accept_key="3"),
    )
    for (_, _, view, facts, spoken), outcome in zip(results, ("busy", "busy", "declined"), strict=True):
        assert (view.status, view.ended_reason) == ("completed", EndedReason.ASSISTANT_ENDED_CALL)
        (failed,) = [fact for fact in facts if fact.type == "transfer.failed"]
        assert failed.data["outcome"] == outcome
        (told,) = [fact for fact in facts if fact.type == "context.injected"]
        assert told.epoch == 2
        assert told.data["source"] == failed.data["transfer_id"]
        assert spoken[-1] == "Bye."
        assert "call.resumed" not in [fact.type for fact in facts]
