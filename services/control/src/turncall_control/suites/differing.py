"""Two conversations side by side: what the agent said and did in reply to each line of the caller's. Pure."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Annotated

from msgspec import Meta, Struct

from turncall_proto.call import EndedReason
from turncall_proto.scenario import Talk, TalkTurn, spoken


class TurnDifference(Struct, frozen=True, kw_only=True):
    """One turn of both calls; null where a call has none like it."""

    is_same: Annotated[bool, Meta(description="The same words by both, and the same uses of tools with their results.")]
    before: TalkTurn | None
    after: TalkTurn | None


class ReplayDifference(Struct, frozen=True, kw_only=True):
    """What has changed from a call to its replay. Times differ in any two calls, and make no difference."""

    is_same: Annotated[bool, Meta(description="The same turns, and the same end.")]
    turns: tuple[TurnDifference, ...]
    ended_before: EndedReason
    ended_after: EndedReason
    unmocked: Annotated[
        str, Meta(description="The first use of a tool that the call's record answers not: it failed. Empty: none.")
    ]


def difference(before: Talk, after: Talk) -> ReplayDifference:
    """Turn by turn, paired by what the caller was understood to say."""
    turns = tuple(_turns(before.turns, after.turns))
    return ReplayDifference(
        is_same=before.ended is after.ended and not after.unmocked and all(turn.is_same for turn in turns),
        turns=turns,
        ended_before=before.ended,
        ended_after=after.ended,
        unmocked=after.unmocked,
    )


def _turns(before: Sequence[TalkTurn], after: Sequence[TalkTurn]) -> Iterator[TurnDifference]:
    heard = [[spoken(turn.caller) for turn in turns] for turns in (before, after)]
    for _, start, end, then, until in SequenceMatcher(a=heard[0], b=heard[1], autojunk=False).get_opcodes():
        for old, new in zip_longest(before[start:end], after[then:until]):
            yield TurnDifference(is_same=_essence(old) == _essence(new), before=old, after=new)


def _essence(turn: TalkTurn | None) -> object:
    """All but the times, and but for case and punctuation."""
    if turn is None:
        return None
    return spoken(turn.caller), spoken(turn.agent), turn.tools
