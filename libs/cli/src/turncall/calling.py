"""``turncall call``: an agent calls somebody, and the terminal shows what is said."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget, NumberView

REACHED: Final = 0
NOT_REACHED: Final = 1


class CallRefused(Exception):
    """The command does not say enough to place a call; the message says what is missing."""


async def called(
    api: TurnCall, to: str, from_: str | None, agent: str | None, assigned: Sequence[str], tell: Callable[[str], None]
) -> int:
    """Has an agent call ``to`` and tells what happens until the call is over; `REACHED` if somebody was spoken with.

    ``agent`` is a name, or the id of an agent or a version; without one, whoever answers the number calls from it.
    ``assigned`` are variables, ``name=value``. Raises `CallRefused`.
    """
    number = await _number(api, from_)
    speaks = await _speaker(api, number, agent)
    taken = await api.place_call(to, number.e164, variables=_variables(assigned), **speaks)
    tell(f"call      {taken.call.id}, from {number.e164}, due {taken.due_at:%Y-%m-%d %H:%M:%S} UTC")
    async for fact in api.follow(taken.call.id):
        if fact.type == "transcript.final":
            tell(f"{fact.data['speaker']:<8}  {fact.data['text']}")
        elif fact.type.startswith("call."):
            tell(f"*         {fact.type.removeprefix('call.')}")
    ended = await api.call(taken.call.id)
    tell(f"ended     {ended.status}, {ended.ended_reason}")
    return REACHED if ended.status == "completed" else NOT_REACHED


async def _number(api: TurnCall, wanted: str | None) -> NumberView:
    cursor = None
    while True:
        page = await api.numbers(cursor=cursor)
        for number in page.items:
            if wanted in (None, number.e164):
                return number
        cursor = page.next_cursor
        if cursor is None:
            raise CallRefused("the project has no such number to call from: see --from, and `turncall doctor`")


async def _speaker(api: TurnCall, number: NumberView, agent: str | None) -> dict[str, Any]:
    if agent is None:
        if not isinstance(number.routing, AgentTarget):
            raise CallRefused("several agents answer the number: say which one is to speak with --agent")
        return {"agent_id": number.routing.agent_id}
    if agent.startswith("ver_"):
        return {"version_id": agent}
    if agent.startswith("agt_"):
        return {"agent_id": agent}
    named = (await api.agents(name=agent)).items
    if len(named) != 1:
        raise CallRefused(f"{len(named)} agents are named {agent}: give the id of one")
    return {"agent_id": named[0].id}


def _variables(assigned: Sequence[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in assigned]
    if not all(equals for _, equals, _ in pairs):
        raise CallRefused("write variables as name=value")
    return {name: value for name, _, value in pairs}
