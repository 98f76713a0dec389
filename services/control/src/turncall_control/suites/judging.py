"""Whether a conversation is what a scenario expects, by rule. Pure, and the same in writing and by phone."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from turncall_control.suites.schemas import Judged
from turncall_proto.job import RubricFinding
from turncall_proto.mock import fits
from turncall_proto.scenario import (
    AnswersWithin,
    Ends,
    Expectation,
    MeetsRubric,
    SaysNoneOf,
    SaysOneOf,
    Talk,
    TalkTool,
    TalkTurn,
    UsesNoTool,
    UsesTool,
    spoken,
)

_FAILED_BEFORE = "Not judged: another expectation was not met."


def judged(talk: Talk, expectations: Sequence[Expectation]) -> tuple[Judged, ...]:
    """Each expectation with what came of it, in order. Rubrics are left open, and settled at once if a rule failed."""
    found = [_judged(talk, expectation) for expectation in expectations]
    if any(one.is_met is False for one in found):
        found = [msgspec.structs.replace(one, why=_FAILED_BEFORE) if one.is_met is None else one for one in found]
    return tuple(found)


def rubrics(found: Sequence[Judged]) -> tuple[str, ...]:
    """What is left for a model to judge."""
    return tuple(
        one.expectation.holds
        for one in found
        if isinstance(one.expectation, MeetsRubric) and one.is_met is None and not one.why
    )


def settled(found: Sequence[Judged], findings: Sequence[RubricFinding]) -> tuple[Judged, ...]:
    """The judged expectations with what a model found of those that were open, in their order."""
    left = iter(findings)

    def settle(one: Judged) -> Judged:
        if one.is_met is not None:
            return one
        finding = next(left)
        return msgspec.structs.replace(one, is_met=finding.holds, why=finding.why)

    return tuple(settle(one) for one in found)


def complaint(found: Sequence[Judged]) -> str:
    """Why it failed, in one line; empty when everything was met."""
    return " ".join(one.why for one in found if one.is_met is False)


def _judged(talk: Talk, expectation: Expectation) -> Judged:
    is_met, why = _verdict(talk, expectation)
    return Judged(expectation=expectation, is_met=is_met, why=why)


def _verdict(talk: Talk, expectation: Expectation) -> tuple[bool | None, str]:
    match expectation:
        case SaysOneOf():
            where = _found(talk, expectation.any_of, expectation.in_reply_to)
            if where is not None:
                return True, where
            return False, f"The agent did not say {_listed(expectation.any_of)}{_place(expectation.in_reply_to)}."
        case SaysNoneOf():
            where = _found(talk, expectation.none_of, expectation.in_reply_to)
            return where is None, where or "It was not said."
        case UsesTool():
            return _uses(talk, expectation)
        case UsesNoTool():
            uses = _of(talk, expectation.tool, expectation.arguments)
            return not uses, f"{expectation.tool} was used {_times(len(uses))}."
        case Ends():
            is_met = talk.ended is expectation.reason
            return is_met, f"It ended as {talk.ended}{'' if is_met else f', not as {expectation.reason}'}."
        case AnswersWithin():
            return _in_time(talk, expectation.max_ms)
        case MeetsRubric():
            return None, ""


def _numbered(talk: Talk) -> Iterator[tuple[int, TalkTurn]]:
    """Each turn with the number of the caller's line that it answers; 0 before the first."""
    line = 0
    for turn in talk.turns:
        line += bool(turn.caller)
        yield line, turn


def _found(talk: Talk, phrases: Sequence[str], in_reply_to: int | None) -> str | None:
    """Where one of the phrases was said, in words; None when it was not."""
    for line, turn in _numbered(talk):
        if in_reply_to is not None and line != in_reply_to:
            continue
        words = spoken(turn.agent)
        for phrase in phrases:
            wanted = spoken(phrase)
            if any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1)):
                return f"The agent said “{phrase}”{_place(line)}."
    return None


def _place(line: int | None) -> str:
    if line is None:
        return ""
    return f" in reply to line {line}" if line else " before the caller spoke"


def _listed(phrases: Sequence[str]) -> str:
    return " or ".join(f"“{phrase}”" for phrase in phrases)


def _of(talk: Talk, tool: str, arguments: dict[str, Any]) -> list[TalkTool]:
    return [used for turn in talk.turns for used in turn.tools if used.tool == tool and fits(used.arguments, arguments)]


def _uses(talk: Talk, expectation: UsesTool) -> tuple[bool, str]:
    count = len(_of(talk, expectation.tool, expectation.arguments))
    is_met = count == expectation.times if expectation.times is not None else count > 0
    others = [msgspec.json.encode(used.arguments).decode()[:200] for used in _of(talk, expectation.tool, {})]
    told = f"{expectation.tool} was used {_times(count)}"
    if is_met:
        return True, f"{told}."
    wanted = "" if not expectation.arguments else f" with {msgspec.json.encode(expectation.arguments).decode()[:200]}"
    return False, f"{told}{wanted}; its uses: {', '.join(others) or 'none'}."


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _in_time(talk: Talk, max_ms: int) -> tuple[bool, str]:
    lines = [(line, turn) for line, turn in _numbered(talk) if turn.caller]
    late = [line for line, turn in lines if turn.latency_ms is None or turn.latency_ms > max_ms]
    if not lines:
        return False, "The caller never spoke, so nothing was answered."
    if late:
        return False, f"Not answered within {max_ms} ms: line {', '.join(map(str, late))}."
    slowest = max(turn.latency_ms or 0 for _, turn in lines)
    return True, f"The slowest answer took {slowest} ms."
