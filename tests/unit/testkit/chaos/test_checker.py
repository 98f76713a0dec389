"""The checker sees each promise broken: histories that never happened."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from turncall.client.shapes import CallView, StoredFact
from turncall_phone.journal import Entry, StreamClosed
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import CallEnded, CallStarted, EpochClosed, EpochOpened, Event, ToolCalled, UtteranceBegun
from turncall_proto.ids import CallId, ProjectId, WorkerId
from turncall_testkit.chaos.caller import DAY, TIME, Told
from turncall_testkit.chaos.checker import (
    ALL_BUSY,
    PLEASE_HOLD,
    crossed,
    doubled,
    ends,
    examine,
    holes,
    is_turned_away,
    lost,
    moved_back,
    ownerless_ms,
    shortfall,
    two_owners,
    untold,
)
from turncall_testkit.chaos.history import CallHistory, History, Notice

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALL = CallId("call_1")
PROJECT = ProjectId("prj_1")


def fact(kind: type[Event], epoch: int, seq: int, **fields: Any) -> Event:
    at = NOON + timedelta(seconds=10 * epoch + seq)
    return kind(**{"call_id": CALL, "project_id": PROJECT, "epoch": epoch, "seq": seq, "at": at} | fields)


def sentence(epoch: int, seq: int, **fields: Any) -> Event:
    return fact(UtteranceBegun, epoch, seq, speaker="agent", text="Hello.", turn=0, start_ms=0, **fields)


STATED = (
    fact(EpochOpened, 1, 1, worker=WorkerId("wrk_1")),
    sentence(1, 2),
    fact(EpochOpened, 2, 1, worker=WorkerId("wrk_2")),
    sentence(2, 2),
    fact(EpochClosed, 2, 3),
)
OWN = (fact(CallEnded, 0, 1, state=CallState.COMPLETED, reason=EndedReason.ASSISTANT_ENDED_CALL, duration_ms=9),)


def stored(*facts: Event) -> tuple[StoredFact, ...]:
    return tuple(
        StoredFact(
            call_seq=number,
            type=str(one.__struct_config__.tag),
            epoch=one.epoch,
            seq=one.seq,
            at=one.at,
            data=msgspec.json.decode(msgspec.json.encode(one)),
        )
        for number, one in enumerate(facts, 1)
    )


ENDED_SEQ = len(STATED) + 1


def notice(**fields: Any) -> Notice:
    """The webhook of the one event that is public."""
    told = {"project_id": PROJECT, "id": "whd_1", "type": "call.ended", "call_seq": ENDED_SEQ, "is_taken": True}
    return Notice(**(told | fields))


@pytest.fixture
def call() -> CallHistory:
    """A call that changed worker and lacks nothing but a row in the list."""
    return CallHistory(
        call_id=CALL,
        project_id=PROJECT,
        shown_to=(PROJECT,),
        told=Told(said=("book",)),
        carrier_status="completed",
        journal=(),
        heard=b"",
        said=b"",
        heard_texts=(),
        stated=STATED,
        view=None,
        stored=stored(*STATED, *OWN),
        notices=(notice(),),
        statuses=("ringing", "in_progress", "completed"),
        bookings=((DAY, TIME),),
    )


def test_a_call_that_went_well_breaks_nothing(call: CallHistory) -> None:
    """The checks are silent, and the change of worker is counted."""
    history = History(scenario="x", seed=1, strikes=(), calls=(call,), stray_bookings=(), contradictions=(), leaks=())
    found = examine(history)
    assert found.broken == ()
    assert (found.calls, found.resumed, found.facts) == (1, 1, len(STATED))


def test_a_fact_that_is_not_stored_is_lost_and_leaves_a_hole(call: CallHistory) -> None:
    """Whether or not a later one shows that it is missing."""
    without = replace(call, stored=tuple(one for one in call.stored if (one.epoch, one.seq) != (2, 2)))
    assert lost(without) == ["utterance.begun (2, 2) is not stored"]
    assert "epoch 2 lacks [2]" in holes(without)


def test_a_fact_that_is_stored_otherwise_is_lost(call: CallHistory) -> None:
    """Two owners of a number, of which one got through."""
    other = stored(sentence(1, 2, at=NOON + timedelta(seconds=99)))[0]
    mixed = replace(call, stored=(call.stored[0], replace(other, call_seq=2), *call.stored[2:]))
    assert lost(mixed) == ["utterance.begun (1, 2) is stored as another utterance.begun"]


def test_a_fact_that_is_stored_twice_or_out_of_nowhere_is_told(call: CallHistory) -> None:
    """Doubled facts and facts of nobody."""
    twice = replace(call, stored=(*call.stored, call.stored[0], *stored(sentence(3, 1))))
    assert doubled(twice) == ["(1, 1) is stored 2 times", "(3, 1) is stored and nobody stated it"]


def test_a_final_state_that_is_left_is_told(call: CallHistory) -> None:
    """As the API showed it."""
    assert moved_back(call) == []
    assert moved_back(replace(call, statuses=("completed", "in_progress"))) == ["it went from completed to in_progress"]


def test_a_worker_that_acts_after_its_successor_is_told(call: CallHistory) -> None:
    """Such as a frozen one that comes back."""
    late = sentence(1, 3, at=NOON + timedelta(seconds=60))
    used = fact(ToolCalled, 1, 4, at=NOON + timedelta(seconds=60), tool_call_id="t", tool="book", arguments={}, turn=1)
    assert two_owners(call) == []
    assert two_owners(replace(call, stated=(*call.stated, used))) == [
        "tool.called (1, 4) comes after epoch 2 began to speak"
    ]
    assert two_owners(replace(call, stated=(*call.stated, late))) == [
        "utterance.begun (1, 3) comes after epoch 2 began to speak"
    ]


def test_a_webhook_comes_once_per_id_in_order(call: CallHistory) -> None:
    """Repeats under the same id are fine; none at all, one that was refused, a second id and a wrong order are not."""
    assert untold(replace(call, notices=(notice(is_taken=False), notice(), notice()))) == []
    missing = f"no webhook came for call.ended ({ENDED_SEQ})"
    assert untold(replace(call, notices=())) == untold(replace(call, notices=(notice(is_taken=False),))) == [missing]
    assert untold(replace(call, notices=(notice(), notice(id="whd_2")))) == [
        f"the webhook of call.ended ({ENDED_SEQ}) came under two ids"
    ]
    stray = notice(id="whd_3", type="call.ringing", call_seq=ENDED_SEQ + 1)
    assert untold(replace(call, notices=(stray, notice()))) == [
        f"a webhook came for call.ringing ({ENDED_SEQ + 1}), which is not stored",
        f"the webhook {ENDED_SEQ + 1} came before {ENDED_SEQ}",
    ]


def test_nothing_of_a_call_is_another_projects(call: CallHistory) -> None:
    """Neither its row, nor a webhook, nor a fact."""
    other = ProjectId("prj_2")
    assert crossed(call) == []
    assert crossed(replace(call, shown_to=(PROJECT, other))) == ["it was shown to prj_2"]
    assert crossed(replace(call, notices=(notice(project_id=other),))) == ["call.ended was sent to prj_2"]
    assert crossed(replace(call, stated=(replace(STATED[0], project_id=other),))) == [
        "epoch.opened was stated for prj_2"
    ]


def test_a_call_ends_once(call: CallHistory) -> None:
    """Neither never nor twice, and not only on our side."""
    assert ends(call) == []
    assert ends(replace(call, stored=stored(*STATED))) == ["call.ended is stored 0 times"]
    assert ends(replace(call, stored=stored(*STATED, *OWN, *OWN))) == ["call.ended is stored 2 times"]
    assert ends(replace(call, carrier_status="in-progress")) == ["the carrier left it in-progress"]


def test_a_conversation_is_over_when_one_right_appointment_is_made(call: CallHistory) -> None:
    """Two, none and another day are all short of it."""
    assert shortfall(call) == "it has no row"
    for bookings in ((), ((DAY, TIME),) * 2, (("Friday", TIME),)):
        assert "instead of" in (shortfall(replace(call, bookings=bookings)) or "")
    assert shortfall(replace(call, told=Told(failure="nobody replied", said=("book",)))) == (
        "nobody replied, having said book"
    )


def closed(at_s: float) -> Entry:
    counts = dict.fromkeys(("frames_sent", "frames_dropped", "media_received"), 0)
    more = dict.fromkeys(("audio_received_ms", "marks_received", "clears_received"), 0)
    fact = StreamClosed(stream_sid="MZ1", by="loss", close_code=None, **counts, **more)
    return Entry(number=1, at_s=at_s, at=NOON + timedelta(seconds=at_s), call_sid="CA1", fact=fact)


def test_time_without_a_worker_is_counted_to_the_next_one_or_to_the_end(call: CallHistory) -> None:
    """The longest of a call counts, whether or not another worker came."""
    live = fact(CallStarted, 2, 2, setup_ms=1, at=NOON + timedelta(seconds=4))
    journal = (closed(1.0), closed(20.0), closed(29.0))
    assert ownerless_ms(replace(call, stated=(live,), journal=journal)) == 9000
    assert ownerless_ms(replace(call, stated=(live,), journal=(closed(1.0),))) == 3000


def test_a_caller_is_turned_away_only_with_both_sentences(call: CallHistory) -> None:
    """Held first, told at last, and recorded so; an agent who spoke turned nobody away."""
    ids = dict.fromkeys(("project_id", "agent_id", "version_id", "number_id", "provider_call_id", "variant"), "x")
    nothing = dict.fromkeys(CallView.__struct_fields__)
    row = {"id": CALL, "channel": "phone", "direction": "inbound", "from_number": "", "to_number": "", "provider": "x"}
    ended = {"status": "failed", "ended_reason": "no_capacity", "created_at": NOON, "variables": {}, "metadata": {}}
    view = msgspec.convert(
        nothing | row | ids | ended | {"event_count": 4, "missing_events": 0, "is_test": False}, CallView
    )
    away = replace(call, told=Told(failure="the line was closed at all"), heard_texts=(PLEASE_HOLD, ALL_BUSY))
    assert is_turned_away(replace(away, view=view))
    assert not is_turned_away(away)
    assert not is_turned_away(replace(away, view=view, heard_texts=(ALL_BUSY,)))
    assert not is_turned_away(replace(away, view=view, told=Told(said=("book",))))
