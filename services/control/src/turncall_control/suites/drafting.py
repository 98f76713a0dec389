"""From a call to a scenario: what the caller said, what the tools answered, and what the agent did with them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from turncall_proto.call import EndedReason
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal
from turncall_proto.mock import ToolMock
from turncall_proto.scenario import (
    MOST_LINES,
    Ends,
    Expectation,
    SayLine,
    SaysOneOf,
    Scenario,
    Scripted,
    UsesTool,
    spoken,
)

_OWN: Final = frozenset({"end_call", "handoff_to_agent"})
"""Tools that need no mock."""
_LONGEST_LINE: Final = 2000
_LONGEST_REASON: Final = 500
_LONGEST_PHRASE: Final = 500

Fact = TranscriptFinal | ToolCalled | ToolReturned


class NothingToTest(Exception):
    """The call holds nothing that a scenario could be made of. The message says what is missing."""


def drafted(name: str, facts: Sequence[Fact], variables: dict[str, str], ended: EndedReason | None) -> Scenario:
    """The call as a scenario that expects the agent to do the same again: a draft, to be looked over.

    Raises `NothingToTest`.
    """
    spoken_in_order = sorted(
        (fact for fact in facts if isinstance(fact, TranscriptFinal)),
        key=lambda fact: (fact.epoch, fact.start_ms, fact.seq),
    )
    lines = [fact.text for fact in spoken_in_order if fact.speaker == "caller" and spoken(fact.text)]
    if not lines:
        raise NothingToTest("the caller said nothing")
    returned = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolReturned)}
    called = [fact for fact in facts if isinstance(fact, ToolCalled)]
    expects = [*_expected(called), *_ending(ended)]
    if not expects:
        last = next((fact.text for fact in reversed(spoken_in_order) if fact.speaker == "agent"), "")
        if not spoken(last):
            raise NothingToTest("the agent did nothing")
        expects = [SaysOneOf(any_of=(last[:_LONGEST_PHRASE],))]
    return Scenario(
        name=name,
        caller=Scripted(steps=tuple(SayLine(text=line[:_LONGEST_LINE]) for line in lines[:MOST_LINES])),
        mocks=_mocks(called, returned, bound=False),
        expects=tuple(expects),
        variables=variables,
    )


def mocked(called: Sequence[ToolCalled], returned: Sequence[ToolReturned]) -> tuple[ToolMock, ...]:
    """What the tools answered, each use with all of its arguments, those that the agent's definition bound included."""
    return _mocks(called, {fact.tool_call_id: fact for fact in returned}, bound=True)


def _mocks(called: Sequence[ToolCalled], returned: Mapping[str, ToolReturned], *, bound: bool) -> tuple[ToolMock, ...]:
    return tuple(
        _mock(fact, {**fact.arguments, **fact.bound} if bound else fact.arguments, returned.get(fact.tool_call_id))
        for fact in called
        if fact.tool not in _OWN
    )


def _expected(called: Sequence[ToolCalled]) -> Iterator[Expectation]:
    seen: list[UsesTool] = []
    for fact in called:
        wanted = UsesTool(tool=fact.tool, arguments=fact.arguments)
        if fact.tool not in _OWN and wanted not in seen:
            seen.append(wanted)
    yield from seen


def _ending(ended: EndedReason | None) -> Iterator[Expectation]:
    """Only an end that the agent itself brought about comes again in writing."""
    if ended is EndedReason.ASSISTANT_ENDED_CALL:
        yield Ends(reason=ended)


def _mock(called: ToolCalled, arguments: dict[str, Any], returned: ToolReturned | None) -> ToolMock:
    if returned is None:
        return ToolMock(tool=called.tool, arguments=arguments, fails="It did not answer.")
    if returned.is_ok:
        return ToolMock(tool=called.tool, arguments=arguments, answer=returned.output)
    why = returned.output.get("error") if isinstance(returned.output, dict) else None
    return ToolMock(
        tool=called.tool,
        arguments=arguments,
        fails=(why if isinstance(why, str) and why else "It failed.")[:_LONGEST_REASON],
    )
