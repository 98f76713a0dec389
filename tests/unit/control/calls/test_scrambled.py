"""Calls whose facts are duplicated, reordered and dropped on their way: the pure fold."""

import os
from functools import reduce

from hypothesis import given, settings

from turncall_control.calls.state import Standing, fold
from turncall_proto.events import CallEvent
from turncall_testkit.config import amounts
from turncall_testkit.histories import Disorder, History, disorders, histories

WAYS = 4


@settings(max_examples=amounts(os.environ).test_histories, deadline=None)
@given(histories(), disorders())
def test_every_order_of_the_same_facts_gives_the_same_call(history: History, disorder: Disorder) -> None:
    """Whatever is dropped, the rest gives one standing in every order, and on no way does the call go back."""
    told = reduce(fold, disorder.survivors(history.facts), Standing(left_epoch=history.left_epoch))
    for way in range(WAYS):
        standing = Standing(left_epoch=history.left_epoch)
        for fact in disorder.deliveries(history.facts, way):
            standing = _moved_on(standing, fact)
        assert standing == told


def _moved_on(before: Standing, fact: CallEvent) -> Standing:
    """The standing after a fact, if that was no move out of a final state or back."""
    after = fold(before, fact)  # type: ignore[arg-type]  # every fact of a history is one of the contract's
    assert after.is_final >= before.is_final
    assert after.status == before.status or not before.is_final or after.end_mark.outranks(before.end_mark)
    assert after.live_mark >= before.live_mark
    assert after.epoch >= before.epoch
    assert fold(after, fact) == after, "the same fact again changes nothing"  # type: ignore[arg-type]
    return after
