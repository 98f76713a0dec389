"""Histories of one call as two planes and a carrier would state them, and the disorder in which they may arrive."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import (
    CallEvent,
    CallInitializing,
    CallResumed,
    CallRinging,
    CallStarted,
    CarrierReported,
    EndIntended,
    EpochClosed,
    EpochOpened,
    TranscriptFinal,
)
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId

NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
_HEADER: Final[dict[str, Any]] = {"call_id": CallId("call_" + "a" * 32), "project_id": ProjectId("prj_" + "b" * 32)}
_WORKER: Final = WorkerId("wrk_" + "c" * 32)
_CARRIERS_LAST_WORDS: Final = ("completed", "completed", "busy", "no-answer", "failed", "canceled", None)
_WORKERS_ENDS: Final = (
    (CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL),
    (CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL),
    (CallState.FAILED, EndedReason.PIPELINE_ERROR),
)


class History(Struct, frozen=True, kw_only=True):
    """All that was ever stated about a call, in the order in which it happened; the call begins at `NOON`.

    ``facts`` begins with what control states when it rings. ``left_epoch``: the last epoch from whose worker control
    took the call away.
    """

    facts: tuple[CallEvent, ...]
    left_epoch: int

    def about(self, begins: datetime, **names: str) -> "History":
        """The same history of another call, by its ``call_id``, ``project_id`` and so on, and of another day."""
        moved = [replace(fact, at=begins + (fact.at - NOON), **_known(fact, names)) for fact in self.facts]
        return replace(self, facts=tuple(moved))


class Disorder(Struct, frozen=True, kw_only=True):
    """What becomes of messages on their way: ``dropped`` never arrive; the rest in any order, some more than once."""

    seed: int
    dropped: frozenset[int]

    def survivors[T](self, sent: Sequence[T]) -> list[T]:
        """What arrives at all, in the order in which it was sent."""
        return [message for place, message in enumerate(sent) if place not in self.dropped]

    def deliveries[T](self, sent: Sequence[T], way: int) -> list[T]:
        """What arrives, as it arrives on one of many ways, each with its own order and repeats; 0 has neither."""
        arriving = self.survivors(sent)
        if way:
            dice = random.Random(self.seed + way)
            arriving += [message for message in arriving if dice.random() < 0.3]
            dice.shuffle(arriving)
        return arriving


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Calls of up to four workers, which hand over, are killed, freeze and speak later, or end the call."""
    told = _Teller(draw)
    told.control(
        CallInitializing,
        agent_id=AgentId("agt_" + "d" * 32),
        version_id=VersionId("ver_" + "e" * 32),
        channel="phone",
        direction="inbound",
        from_number="+15550001111",
        to_number="+15550002222",
        provider="twilio",
        provider_call_id="CA1",
    )
    told.control(CallRinging)
    if draw(st.booleans()):
        told.control(CarrierReported, status="in-progress", sequence_number=2)
    last = draw(st.integers(0, 4))
    for epoch in range(1, last + 1):
        told.epoch(epoch)
    if draw(st.integers(0, 2)) == 0:
        told.control(EndIntended, reason=draw(st.sampled_from(sorted(EndedReason))))
    word = draw(st.sampled_from(_CARRIERS_LAST_WORDS))
    if word is not None:
        duration_s = draw(st.integers(1, 90)) if word == "completed" else 0
        sip_code = draw(st.sampled_from((None, 404, 486))) if word == "failed" else None
        told.control(CarrierReported, status=word, sequence_number=3, duration_s=duration_s, sip_code=sip_code)
    # The step to an epoch takes the call away from the one before; the last may have been lost as well.
    left = max(0, last - draw(st.integers(0, 1)))
    return History(facts=tuple(told.facts), left_epoch=left)


@st.composite
def disorders(draw: st.DrawFn) -> Disorder:
    """Any disorder; the first two messages are never dropped, since without them there is no call."""
    dropped = draw(st.frozensets(st.integers(2, 40), max_size=4))
    return Disorder(seed=draw(st.integers(0, 2**32)), dropped=dropped)


class _Teller:
    """Numbers facts while a history is drawn."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.facts: list[CallEvent] = []
        self._draw = draw
        self._seqs: dict[int, int] = {}

    def control(self, kind: type[CallEvent], **facts: Any) -> None:
        """A fact of epoch 0."""
        self._state(kind, 0, facts)

    def epoch(self, epoch: int) -> None:
        """What one worker states; the next one may not have read all of it."""
        read = self._draw(st.integers(0, self._seqs.get(epoch - 1, 0))) if epoch > 1 else 0
        self._state(EpochOpened, epoch, {"worker": _WORKER, "previous_seq": read})
        if epoch == 1:
            self._state(CallStarted, epoch, {"setup_ms": 20})
        else:
            resumed = {"from_epoch": epoch - 1, "from_worker": _WORKER, "to_worker": _WORKER, "cause": "socket_lost"}
            self._state(CallResumed, epoch, {**resumed, "gap_ms": 400})
        for turn in range(self._draw(st.integers(0, 4))):
            words = {"speaker": "caller", "text": f"{epoch}.{turn}", "start_ms": turn, "end_ms": turn, "turn": turn}
            self._state(TranscriptFinal, epoch, words)
        end = self._draw(st.sampled_from(("killed", "handed over", *_WORKERS_ENDS)))
        if end != "killed":
            state, reason = (None, None) if isinstance(end, str) else end
            self._state(EpochClosed, epoch, {"state": state, "reason": reason})

    def _state(self, kind: type[CallEvent], epoch: int, facts: dict[str, Any]) -> None:
        self._seqs[epoch] = self._seqs.get(epoch, 0) + 1
        at = NOON + timedelta(milliseconds=100 * len(self.facts))
        self.facts.append(kind(**_HEADER, epoch=epoch, seq=self._seqs[epoch], at=at, **facts))


def _known(fact: CallEvent, names: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in names.items() if name in fact.__struct_fields__}
