"""From the record of a call to the conversation that it was. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from turncall_proto.call import EndedReason
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal, TurnMeasured, UsageReported
from turncall_proto.job import ModelUse
from turncall_proto.mock import UNMOCKED
from turncall_proto.scenario import Talk, TalkTool, TalkTurn

Fact = TranscriptFinal | ToolCalled | ToolReturned | TurnMeasured | UsageReported
"""What a conversation is read from."""
TAGS: Final = tuple(str(kind.__struct_config__.tag) for kind in Fact.__args__)
_LONGEST: Final = 300


def heard(facts: Sequence[Fact], ended: EndedReason) -> Talk:
    """Who said and did what, turn by turn: the caller as understood, the agent as far as it was heard.

    What the caller said at several times before the agent did anything is one line.
    """
    returned = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolReturned)}
    turns: list[TalkTurn] = []
    for at in sorted({(fact.epoch, fact.turn) for fact in facts if isinstance(fact, TranscriptFinal | ToolCalled)}):
        turn = _turn(at, facts, returned)
        last = turns[-1] if turns else None
        if last is not None and last.caller and not last.agent and not last.tools:
            turns[-1] = msgspec.structs.replace(turn, caller=_joined((last.caller, turn.caller)))
        else:
            turns.append(turn)
    return Talk(turns=tuple(turns), ended=ended, unmocked=next(_unmocked(facts, returned), ""))


def used(facts: Sequence[Fact]) -> tuple[ModelUse, ...]:
    """What the agent's models read and wrote."""
    return tuple(
        ModelUse(vendor=fact.vendor, model=fact.model, input_tokens=fact.input_tokens, output_tokens=fact.output_tokens)
        for fact in facts
        if isinstance(fact, UsageReported) and fact.input_tokens + fact.output_tokens
    )


def _turn(at: tuple[int, int], facts: Sequence[Fact], returned: dict[str, ToolReturned]) -> TalkTurn:
    of_turn = [
        fact for fact in facts if not isinstance(fact, ToolReturned | UsageReported) and (fact.epoch, fact.turn) == at
    ]
    said = sorted(
        (fact for fact in of_turn if isinstance(fact, TranscriptFinal)), key=lambda fact: (fact.start_ms, fact.seq)
    )
    return TalkTurn(
        caller=_joined(fact.text for fact in said if fact.speaker == "caller"),
        agent=_joined(fact.text for fact in said if fact.speaker == "agent"),
        latency_ms=next((fact.reply_ms for fact in of_turn if isinstance(fact, TurnMeasured)), None),
        tools=tuple(_tool(fact, returned.get(fact.tool_call_id)) for fact in of_turn if isinstance(fact, ToolCalled)),
    )


def _tool(called: ToolCalled, result: ToolReturned | None) -> TalkTool:
    return TalkTool(
        tool=called.tool,
        arguments={**called.arguments, **called.bound},
        is_ok=None if result is None else result.is_ok,
        output=None if result is None else result.output,
    )


def _unmocked(facts: Sequence[Fact], returned: dict[str, ToolReturned]) -> Iterator[str]:
    for fact in facts:
        result = returned.get(fact.tool_call_id) if isinstance(fact, ToolCalled) else None
        if isinstance(fact, ToolCalled) and result is not None and result.output == {"error": UNMOCKED}:
            yield f"{fact.tool}({msgspec.json.encode(fact.arguments).decode()})"[:_LONGEST]


def _joined(texts: "Iterator[str] | Sequence[str]") -> str:
    return " ".join(filter(None, texts))
