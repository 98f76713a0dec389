"""The fold that turns facts into a call's standing."""

from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turncall_control.calls.state import Authority, Standing, duration_ms, fold, why_ended
from turncall_proto.call import FINAL, CallState, EndedReason
from turncall_proto.codec import UnknownEvent
from turncall_proto.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallInitializing,
    CallRinging,
    CallStarted,
    CarrierReported,
    DialFailed,
    DtmfReceived,
    EndIntended,
    EpochClosed,
    EpochOpened,
    VoicemailDetected,
)
from turncall_proto.ids import CallId, ProjectId, WorkerId

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALL, PROJECT = CallId("call_" + "a" * 32), ProjectId("prj_" + "b" * 32)


def fact(kind: type[CallEvent], epoch: int, seq: int, *, at_ms: int = 0, **facts: Any) -> Any:
    """A fact of one and the same call, ``at_ms`` after noon."""
    at = NOON + timedelta(milliseconds=at_ms)
    return kind(call_id=CALL, project_id=PROJECT, epoch=epoch, seq=seq, at=at, **facts)


def folded(*facts: Any) -> Standing:
    """What the facts make of a new call, in this order."""
    return reduce(fold, facts, Standing())


def initializing(seq: int = 1) -> Any:
    """The first fact of an inbound phone call."""
    return fact(
        CallInitializing,
        0,
        seq,
        agent_id=None,
        version_id=None,
        channel="phone",
        direction="inbound",
        from_number="+15550001111",
        to_number="+15550002222",
        provider="twilio",
        provider_call_id="CA1",
    )


final_states = st.sampled_from(sorted(FINAL))
reasons = st.sampled_from(list(EndedReason))
controls_word = st.one_of(
    st.just((CallInitializing, {})),
    st.just((CallRinging, {})),
    st.just((CallAnswered, {})),
    st.just((VoicemailDetected, {"clue": "carrier"})),
    st.builds(lambda reason: (EndIntended, {"reason": reason}), reasons),
    st.builds(
        lambda state, reason: (CallEnded, {"state": state, "reason": reason, "duration_ms": 1}), final_states, reasons
    ),
    st.builds(
        lambda status, duration_s, sip_code: (
            CarrierReported,
            {"status": status, "duration_s": duration_s, "sip_code": sip_code},
        ),
        st.sampled_from(["ringing", "in-progress", "completed", "busy", "no-answer", "failed", "canceled", "else"]),
        st.none() | st.integers(0, 99),
        st.sampled_from([None, 200, 404, 486]),
    ),
)
workers_word = st.one_of(
    st.just((EpochOpened, {"worker": WorkerId("wrk_1")})),
    st.just((CallStarted, {"setup_ms": 5})),
    st.just((DtmfReceived, {"digit": "1"})),
    st.just((VoicemailDetected, {"clue": "beep"})),
    st.just((UnknownEvent, {"tag": "call.levitated", "raw": b"{}"})),
    st.builds(
        lambda state, reason: (EpochClosed, {"state": state, "reason": reason}),
        st.none() | st.sampled_from(list(CallState)),
        st.none() | reasons,
    ),
)


@st.composite
def stories(draw: st.DrawFn) -> list[Any]:
    """Facts of one call with distinct numbers: epoch 0 by control, later epochs by workers."""
    story = []
    for epoch in range(draw(st.integers(1, 4))):
        words = draw(st.lists(controls_word if epoch == 0 else workers_word, max_size=6))
        for seq, (kind, facts) in enumerate(words, start=1):
            if kind is CallInitializing:
                story.append(initializing(seq))
            else:
                story.append(fact(kind, epoch, seq, at_ms=draw(st.integers(0, 10_000)), **facts))
    return story


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_order_with_any_repetition_gives_the_same_row(data: st.DataObject) -> None:
    """Any permutation of the same facts, with any of them repeated, folds to the same standing."""
    story = data.draw(stories())
    shuffled = data.draw(st.permutations(story + data.draw(st.lists(st.sampled_from(story or [None]), max_size=8))))
    new = Standing(left_epoch=data.draw(st.integers(0, 3)))
    assert reduce(fold, (said for said in shuffled if said), new) == reduce(fold, story, new)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_call_never_moves_back(data: st.DataObject) -> None:
    """No fact, in whatever order it comes, takes a call out of a final state or back to an older number."""
    story = data.draw(stories())
    before = Standing()
    for said in data.draw(st.permutations(story)):
        after = fold(before, said)
        assert after.live_mark >= before.live_mark
        assert after.epoch >= before.epoch
        assert after.end_mark.authority >= before.end_mark.authority
        if before.is_final:
            assert after.is_final
            if after.status != before.status:
                assert after.end_mark.outranks(before.end_mark)
        elif after.status != before.status:
            is_of_this = after.live_mark == (said.epoch, said.seq) or after.status is CallState.VOICEMAIL
            assert after.is_final or is_of_this
        before = after


def test_an_ordinary_call_is_completed_by_the_caller() -> None:
    """A call that rang, was answered, talked and was hung up by the caller shows all of it."""
    standing = folded(
        initializing(),
        fact(CallRinging, 0, 2),
        fact(CallAnswered, 0, 3, at_ms=400),
        fact(EpochOpened, 1, 1, at_ms=450, worker=WorkerId("wrk_1")),
        fact(CallStarted, 1, 2, at_ms=500, setup_ms=50),
        fact(EpochClosed, 1, 3, at_ms=9_000, state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL),
        fact(CarrierReported, 0, 4, at_ms=9_200, status="completed", duration_s=9),
    )
    assert standing.status is CallState.COMPLETED
    assert standing.ended_reason is EndedReason.CUSTOMER_ENDED_CALL
    assert standing.has_carriers_word
    assert duration_ms(standing) == 8_800


@pytest.mark.parametrize(
    ("status", "sip_code", "state", "reason"),
    [
        ("busy", 486, CallState.BUSY, EndedReason.CUSTOMER_BUSY),
        ("no-answer", 487, CallState.NO_ANSWER, EndedReason.CUSTOMER_DID_NOT_ANSWER),
        ("failed", 503, CallState.FAILED, EndedReason.TELEPHONY_FAILED),
        ("failed", 404, CallState.FAILED, EndedReason.INVALID_NUMBER),
        ("canceled", None, CallState.FAILED, EndedReason.CANCELED),
        ("completed", 200, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL),
    ],
)
def test_the_carriers_final_words(status: str, sip_code: int | None, state: CallState, reason: EndedReason) -> None:
    """Each final word of the carrier has its state and its reason."""
    standing = folded(fact(CarrierReported, 0, 1, status=status, sip_code=sip_code))
    assert (standing.status, why_ended(standing)) == (state, reason)


def test_the_carrier_beats_the_worker_and_the_worker_beats_the_reaper() -> None:
    """A more authoritative final word replaces a lesser one, and not the other way round."""
    reaper = fact(CallEnded, 0, 1, state=CallState.NO_ANSWER, reason=EndedReason.UNKNOWN, duration_ms=0)
    worker = fact(EpochClosed, 1, 9, state=CallState.FAILED, reason=EndedReason.PIPELINE_ERROR)
    carrier = fact(CarrierReported, 0, 2, status="completed")
    assert folded(worker, reaper).status is CallState.FAILED
    standing = folded(carrier, worker, reaper)
    assert standing.status is CallState.COMPLETED
    assert standing.ended_reason is EndedReason.PIPELINE_ERROR, "a plain completed knows no reason"


def test_an_intent_explains_the_end_but_does_not_make_it() -> None:
    """What control means to do names the reason, also against the worker's; the state waits for the deed."""
    intended = fact(EndIntended, 0, 2, reason=EndedReason.ASSISTANT_ENDED_CALL)
    standing = folded(fact(CallAnswered, 0, 1), intended)
    assert (standing.status, standing.end_intended) == (CallState.IN_PROGRESS, True)
    standing = fold(
        standing, fact(EpochClosed, 1, 3, state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)
    )
    assert standing.ended_reason is EndedReason.ASSISTANT_ENDED_CALL
    assert standing.end_mark.authority == Authority.WORKER


def test_the_first_of_two_intents_stands() -> None:
    """A second wish to end a call that is already being ended does not rewrite the reason."""
    first = fact(EndIntended, 0, 2, reason=EndedReason.ASSISTANT_ENDED_CALL)
    second = fact(EndIntended, 0, 3, reason=EndedReason.API_ENDED_CALL)
    assert folded(second, first).ended_reason is EndedReason.ASSISTANT_ENDED_CALL


def test_a_late_live_fact_does_not_reopen_a_call() -> None:
    """A worker's live fact that comes after the carrier's final word leaves the state final."""
    standing = folded(
        fact(CarrierReported, 0, 1, status="completed"),
        fact(CallStarted, 2, 7, setup_ms=1),
    )
    assert standing.status is CallState.COMPLETED
    assert (standing.epoch, standing.live_mark) == (2, (2, 7))


def test_an_epoch_that_goes_on_elsewhere_does_not_end_the_call() -> None:
    """A worker that closes its epoch without a state hands the call on."""
    standing = folded(fact(EpochOpened, 1, 1, worker=WorkerId("wrk_1")), fact(EpochClosed, 1, 2))
    assert standing.status is CallState.IN_PROGRESS


def test_a_worker_that_lost_the_call_cannot_end_it() -> None:
    """What the worker of an epoch that control has left says about the end counts for nothing, whenever it comes."""
    left = Standing(left_epoch=1)
    closed = fact(EpochClosed, 1, 9, state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)
    standing = reduce(fold, [fact(CallAnswered, 0, 1), closed, fact(CallStarted, 2, 2, setup_ms=1)], left)
    assert (standing.status, standing.ended_reason) == (CallState.IN_PROGRESS, None)
    assert fold(standing, fact(EpochClosed, 2, 9, state=CallState.COMPLETED)).is_final


@pytest.mark.parametrize(
    ("talked_ms", "carrier_s", "expected_ms"),
    [(8_800, 9, 8_800), (8_800, None, 8_800), (60_000, 30, 31_000), (100, 5, 4_000)],
)
def test_duration_is_ours_within_a_second_of_the_carriers(
    talked_ms: int, carrier_s: int | None, expected_ms: int
) -> None:
    """A final word that reaches us late does not lengthen the call beyond what the carrier counted."""
    standing = folded(
        fact(CallAnswered, 0, 1),
        fact(CarrierReported, 0, 2, at_ms=talked_ms, status="completed", duration_s=carrier_s),
    )
    assert duration_ms(standing) == expected_ms


def test_a_call_that_nobody_answered_lasted_no_time() -> None:
    """Without an answer there is no duration but the carrier's."""
    assert duration_ms(folded(fact(CarrierReported, 0, 1, status="busy", duration_s=0))) == 0
    assert why_ended(Standing()) is EndedReason.UNKNOWN


def test_a_machine_stays_on_the_line_whichever_worker_serves_it() -> None:
    """Voicemail is left for an end alone: a worker that takes the call over speaks to the same machine."""
    told = folded(
        initializing(),
        fact(EpochOpened, 1, 1, worker=WorkerId("wrk_1")),
        fact(VoicemailDetected, 1, 2, clue="words"),
        fact(EpochOpened, 2, 1, worker=WorkerId("wrk_2")),
    )
    assert told.status is CallState.VOICEMAIL
    ended = fold(told, fact(EpochClosed, 2, 2, state=CallState.COMPLETED, reason=EndedReason.VOICEMAIL))
    assert (ended.status, ended.ended_reason) == (CallState.COMPLETED, EndedReason.VOICEMAIL)


def test_a_call_that_was_not_placed_has_failed() -> None:
    """Its reason is the one stated, and nobody has more to say."""
    told = folded(initializing(), fact(DialFailed, 0, 2, reason=EndedReason.INVALID_NUMBER))
    assert (told.status, told.ended_reason) == (CallState.FAILED, EndedReason.INVALID_NUMBER)
    assert told.has_carriers_word
