"""Calls that are asked for while every answer of the carrier is lost, and control replicas die with questions open:
nobody may be rung twice, and of each call something is said in the end.

Whether the carrier acted before its answer was lost is drawn for each question. What is looked at afterwards is what
the carrier placed, and what the API says of each call.
"""

import asyncio
import random
import signal
from collections import Counter
from typing import Final

import psycopg
from msgspec import Struct

from turncall.client import ApiError, TurnCall, Unreachable
from turncall.client.shapes import AgentTarget
from turncall.demo.record import every_fact
from turncall_phone.caller import AnyPhone, Busy, NeverAnswers
from turncall_phone.faults import RestFault
from turncall_proto.ids import CallId
from turncall_testkit.chaos.scene import Scene

SLUG: Final = "dials-unknown"
FIGURE: Final = "1,000 calls of which the carrier's answer is lost: nobody is rung twice, each ends as it was"
MANY: Final = 1_000
SLOTS: Final = 1_000
"""A call of which nothing is known keeps room for its answer."""
CREATE: Final = "/Calls.json"
OPEN_S: Final = 2.0
"""How long the carrier takes over some of its answers: whoever asked may be killed meanwhile."""
RING_S: Final = 5
ENDED_WITHIN_S: Final = 900.0
KILLED_WITHIN_S: Final = 5.0
AGAIN_S: Final = 1.0
PHONES: Final[tuple[tuple[AnyPhone, tuple[str, str]], ...]] = (
    (Busy(), ("busy", "customer_busy")),
    (NeverAnswers(), ("no_answer", "customer_did_not_answer")),
)
"""And how a call ends that rings there, also by the carrier's list alone, which does not tell busy from declined."""
NEVER_PLACED: Final = ("failed", "telephony_failed")


class Asked(Struct, frozen=True, kw_only=True):
    """One call that was asked for: ``fits`` is how it ends if the phone rings."""

    call_id: CallId
    person: str
    fits: tuple[str, str]


class Became(Struct, frozen=True, kw_only=True):
    """What became of one: how often the carrier placed it, how it ended by the API, how often that was stated."""

    asked: Asked
    placed: int
    ended: tuple[str, str]
    stated: int

    def faults(self) -> list[str]:
        """What is wrong with it."""
        call, expected = self.asked.call_id, self.asked.fits if self.placed else NEVER_PLACED
        faults = [f"{call}: it was placed {self.placed} times"] * (self.placed > 1)
        faults += [f"{call}: it ended as {self.ended}, not as {expected}"] * (self.ended != expected)
        return faults + [f"{call}: its end was stated {self.stated} times"] * (self.stated != 1)


class Dialled(Struct, frozen=True, kw_only=True):
    """What became of all, and how many replicas were killed with a question open."""

    became: tuple[Became, ...]
    killed: int

    def measures(self) -> dict[str, float]:
        """What the report shows."""
        counts = Counter(one.placed for one in self.became)
        return {
            "calls": len(self.became),
            "placed": counts[1],
            "never placed": counts[0],
            "rung twice": sum(count for placed, count in counts.items() if placed > 1),
            "replicas killed": self.killed,
        }

    def faults(self) -> list[str]:
        """Why the figure was missed."""
        faults = [fault for one in self.became for fault in one.faults()]
        return faults + ["no replica was killed"] * (self.killed == 0)


async def dial(scene: Scene, *, seed: int, many: int = MANY, is_short: bool = False) -> Dialled:
    """Asks for ``many`` calls and kills every replica in turn.

    In short the carrier acts each time, since a call that it does not list is given up after a minute only, and what
    became of a call is looked up at once.
    """
    chance, (api, number) = random.Random(seed), (scene.tenants[0].api, scene.tenants[0].number.e164)
    for _ in range(2 * many):  # a killed replica's question may have spent one
        scene.carrier.faults.add(_lost(chance, is_short))
    try:
        asked = [await _ask(scene, chance, api, number, index) for index in range(many)]
        for replica in list(scene.controls):
            await _asking(scene, asked)
            replica.signal(signal.SIGKILL)
            await replica.ended(KILLED_WITHIN_S)
            await scene.installation.start_again(replica)
        if is_short:
            await _look_now(scene)
        async with asyncio.timeout(ENDED_WITHIN_S):
            became = [await _became(scene, api, one) for one in asked]
    finally:
        scene.carrier.faults.clear()
    return Dialled(became=tuple(became), killed=len(scene.controls))


def _lost(chance: random.Random, is_short: bool) -> RestFault:
    is_done, is_cut = is_short or chance.random() < 0.5, chance.random() < 0.5
    return RestFault(path=CREATE, is_done=is_done, is_cut=is_cut, delay_s=chance.choice((0.0, OPEN_S)))


async def _ask(scene: Scene, chance: random.Random, api: TurnCall, number: str, index: int) -> Asked:
    phone, fits = chance.choice(PHONES)
    person = f"+1415{index:07}"
    scene.carrier.expect(person, phone)
    target = scene.tenants[0].number.routing
    assert isinstance(target, AgentTarget)
    taken = await api.place_call(person, number, agent_id=target.agent_id, ring_timeout_s=RING_S)
    return Asked(call_id=taken.call.id, person=person, fits=fits)


async def _asking(scene: Scene, asked: list[Asked]) -> None:
    """Returns once the carrier has placed more than it had, or nothing more is coming."""
    persons, before = {one.person for one in asked}, len(_rung(scene))
    for _ in range(100):
        rung = _rung(scene)
        if len(rung) > before or persons <= set(rung):
            return
        await asyncio.sleep(0.1)


def _rung(scene: Scene) -> list[str]:
    """Whom the carrier has called, each as often as it did."""
    return [call.to for call in scene.carrier.calls]


async def _look_now(scene: Scene) -> None:
    """As if the carrier had been asked some time ago."""
    async with await psycopg.AsyncConnection.connect(scene.servers.urls.database_system_url) as connection:
        await connection.execute("update dials set look_at = now() where state = 'asked'")


async def _became(scene: Scene, api: TurnCall, asked: Asked) -> Became:
    """Once the last word on the call was said."""
    while True:
        try:
            async for _ in api.follow(asked.call_id):
                """To its end."""
            ends = [fact for fact in await every_fact(api, asked.call_id) if fact.type == "call.ended"]
            view = await api.call(asked.call_id)
            break
        except (ApiError, Unreachable):  # so many questions in a minute
            await asyncio.sleep(AGAIN_S)
    return Became(
        asked=asked,
        placed=_rung(scene).count(asked.person),
        ended=(view.status, view.ended_reason or ""),
        stated=len(ends),
    )
