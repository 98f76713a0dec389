"""Whether what was promised held, decided from a history alone."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Final

import msgspec
from msgspec import Struct

from turncall_phone.journal import StreamClosed
from turncall_proto.call import FINAL
from turncall_proto.codec import decode_event
from turncall_proto.events import PUBLIC_TAGS, CallEnded, CallStarted, EpochOpened, Event, ToolCalled, UtteranceBegun
from turncall_testkit.chaos.caller import DAY, TIME
from turncall_testkit.chaos.gaps import gap_ms
from turncall_testkit.chaos.history import CallHistory, History, Notice

PLEASE_HOLD: Final = "Please hold the line, we will be with you in a moment."
ALL_BUSY: Final = "All lines are busy at the moment. Please call again in a few minutes."
_FINAL: Final = frozenset(str(state) for state in FINAL)


class Findings(Struct, frozen=True, kw_only=True):
    """What the checker found; every list names what broke a promise, and is empty when it held.

    ``lost`` and ``doubled`` (I1), ``holes`` (I2), ``moved_back`` (I3), ``two_owners`` (I4), ``ends`` (I5), ``untold``
    (I6), ``crossed`` (I7), ``leaks`` (I8). ``unfinished``: calls that did not reach the end of their script.
    ``turned_away``: calls that were held and then told that all lines are busy, neither finished nor unfinished.
    ``notices`` counts the webhooks that arrived. ``gaps_ms`` has one entry for each call and fault where the agent owed
    something. ``resumed`` counts the calls that changed worker, and ``away_ms`` has for each change how long the call
    was without one; ``ownerless_ms`` is the longest time in which a call had none.
    """

    calls: int
    reached_end: int
    turned_away: int
    resumed: int
    facts: int
    gaps_ms: tuple[int, ...]
    away_ms: tuple[int, ...]
    ownerless_ms: int
    repeats: int
    nudges: int
    forgotten: int
    unfinished: tuple[str, ...]
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    holes: tuple[str, ...]
    moved_back: tuple[str, ...]
    two_owners: tuple[str, ...]
    ends: tuple[str, ...]
    leaks: tuple[str, ...]
    untold: tuple[str, ...] = ()
    crossed: tuple[str, ...] = ()
    notices: int = 0

    @property
    def broken(self) -> tuple[str, ...]:
        """Every broken promise; an unfinished conversation is a figure, not one of these."""
        return (
            *self.lost,
            *self.doubled,
            *self.holes,
            *self.moved_back,
            *self.two_owners,
            *self.ends,
            *self.untold,
            *self.crossed,
            *self.leaks,
        )


def examine(history: History) -> Findings:
    """What held in a run and what did not."""
    calls = history.calls
    served = [call for call in calls if not is_turned_away(call)]
    unfinished = [f"{call.call_id}: {why}" for call in served if (why := shortfall(call)) is not None]
    return Findings(
        calls=len(calls),
        reached_end=len(served) - len(unfinished),
        turned_away=len(calls) - len(served),
        resumed=sum(is_resumed(call) for call in calls),
        facts=sum(len(call.stated) for call in calls),
        gaps_ms=gaps(history),
        ownerless_ms=max((ownerless_ms(call) for call in calls), default=0),
        away_ms=tuple(away_ms for call in calls for away_ms in absences(call)),
        repeats=sum(call.told.repeats for call in calls),
        nudges=sum(call.told.nudges for call in calls),
        forgotten=sum(call.told.forgotten for call in calls),
        unfinished=tuple(unfinished),
        lost=_each(calls, lost),
        doubled=(*_each(calls, doubled), *history.stray_bookings),
        holes=_each(calls, holes),
        moved_back=_each(calls, moved_back),
        two_owners=(*_each(calls, two_owners), *history.contradictions),
        ends=_each(calls, ends),
        leaks=history.leaks,
        untold=(*_each(calls, untold), *history.forgeries),
        crossed=_each(calls, crossed),
        notices=sum(len(call.notices) for call in calls),
    )


def _each(calls: tuple[CallHistory, ...], check: Callable[[CallHistory], list[str]]) -> tuple[str, ...]:
    return tuple(f"{call.call_id}: {fault}" for call in calls for fault in check(call))


def gaps(history: History) -> tuple[int, ...]:
    """For each fault and each call that lived through it and was owed something: the silence, in milliseconds."""
    return tuple(
        gap
        for strike in history.strikes
        for call in history.calls
        if call.call_id in strike.positions_ms
        and (gap := gap_ms(call.heard, call.said, strike.positions_ms[call.call_id])) is not None
    )


def shortfall(call: CallHistory) -> str | None:
    """Why a call did not reach its scripted end; None when it did."""
    if call.told.failure is not None:
        return f"{call.told.failure}, having said {', '.join(call.told.said)}"
    if call.bookings != ((DAY, TIME),):
        return f"booked {list(call.bookings)} instead of {DAY} at {TIME} once"
    if call.view is None:
        return "it has no row"
    if (call.view.status, call.view.ended_reason) != ("completed", "assistant_ended_call"):
        return f"it ended {call.view.status} for {call.view.ended_reason}"
    return None


def is_turned_away(call: CallHistory) -> bool:
    """Whether a caller who never had an agent was asked to hold, then told that all lines are busy, and hung up on."""
    return (
        not call.told.said
        and call.heard_texts[:1] == (PLEASE_HOLD,)
        and call.heard_texts[-1:] == (ALL_BUSY,)
        and call.view is not None
        and (call.view.status, call.view.ended_reason) == ("failed", "no_capacity")
    )


def ownerless_ms(call: CallHistory) -> int:
    """The longest time from the end of a media socket to an agent that is live on the next, or to the call's end."""
    opened = [fact.at for fact in call.stated if isinstance(fact, CallStarted)]
    lengths = [0]
    for entry in call.journal:
        if isinstance(entry.fact, StreamClosed):
            ends = [at for at in opened if at > entry.at] or [call.journal[-1].at]
            lengths.append(round((min(ends) - entry.at).total_seconds() * 1000))
    return max(lengths)


def is_resumed(call: CallHistory) -> bool:
    """Whether more than one worker spoke in the call."""
    return sum(isinstance(fact, EpochOpened) for fact in call.stated) > 1


def absences(call: CallHistory) -> list[int]:
    """For each change of worker, milliseconds from the end of one media socket to an agent that is live on the next."""
    closed = [entry.at for entry in call.journal if isinstance(entry.fact, StreamClosed)]
    live = [fact.at for fact in call.stated if isinstance(fact, CallStarted) and fact.epoch > 1]
    lasts = [(max((at for at in closed if at < since), default=since), since) for since in live]
    return [round((since - at).total_seconds() * 1000) for at, since in lasts]


def lost(call: CallHistory) -> list[str]:
    """I1: facts that a worker wrote down and Postgres does not have, or has otherwise."""
    stored = {(fact.epoch, fact.seq): fact for fact in call.stored}
    faults = []
    for fact in call.stated:
        kept = stored.get((fact.epoch, fact.seq))
        name = f"{_tag(fact)} ({fact.epoch}, {fact.seq})"
        if kept is None:
            faults.append(f"{name} is not stored")
        elif decode_event(msgspec.json.encode(kept.data)) != fact:
            faults.append(f"{name} is stored as another {kept.type}")
    if call.view is not None and call.view.missing_events:
        faults.append(f"{call.view.missing_events} facts are given up")
    return faults


def doubled(call: CallHistory) -> list[str]:
    """I1: facts stored twice, or that nobody stated."""
    counts = Counter((fact.epoch, fact.seq) for fact in call.stored)
    faults = [f"{number} is stored {times} times" for number, times in counts.items() if times > 1]
    stated = {(fact.epoch, fact.seq) for fact in call.stated}
    alien = sorted(number for number in counts if number[0] > 0 and number not in stated)
    return faults + [f"{number} is stored and nobody stated it" for number in alien]


def holes(call: CallHistory) -> list[str]:
    """I2: numbers left out, within an epoch or in the order of the call."""
    faults = _gaps("call_seq", sorted(fact.call_seq for fact in call.stored))
    for epoch in sorted({fact.epoch for fact in call.stored}):
        faults += _gaps(f"epoch {epoch}", sorted(fact.seq for fact in call.stored if fact.epoch == epoch))
    return faults


def _gaps(name: str, numbers: list[int]) -> list[str]:
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    return [f"{name} lacks {missing}"] if missing else []


def moved_back(call: CallHistory) -> list[str]:
    """I3: a final state that was left, as the API showed it."""
    return [
        f"it went from {before} to {after}"
        for before, after in zip(call.statuses, call.statuses[1:], strict=False)
        if before in _FINAL
    ]


def two_owners(call: CallHistory) -> list[str]:
    """I4: a worker that began a sentence, or used a tool, after its successor had begun to speak."""
    spoke: dict[int, datetime] = {}
    for fact in call.stated:
        if isinstance(fact, UtteranceBegun) and fact.speaker == "agent":
            spoke.setdefault(fact.epoch, fact.at)
    acts = [fact for fact in call.stated if isinstance(fact, UtteranceBegun | ToolCalled) and _is_agents(fact)]
    return [
        f"{_tag(fact)} ({fact.epoch}, {fact.seq}) comes after epoch {later} began to speak"
        for fact in acts
        for later, since in spoke.items()
        if later > fact.epoch and fact.at > since
    ]


def _is_agents(fact: UtteranceBegun | ToolCalled) -> bool:
    return isinstance(fact, ToolCalled) or fact.speaker == "agent"


def ends(call: CallHistory) -> list[str]:
    """I5: a call that ended never, or more than once, and one that a carrier never closed."""
    times = sum(fact.type == _tag_of(CallEnded) for fact in call.stored)
    faults = [] if times == 1 else [f"call.ended is stored {times} times"]
    return faults + ([] if call.carrier_status == "completed" else [f"the carrier left it {call.carrier_status}"])


def untold(call: CallHistory) -> list[str]:
    """I6: events of which the project's server was not told, was told under two ids, or before an earlier one."""
    first: dict[int, Notice] = {}
    faults = []
    for notice in call.notices:
        if notice.is_taken and notice.project_id == call.project_id:
            known = first.setdefault(notice.call_seq, notice)
            if known.id != notice.id:
                faults.append(f"the webhook of {notice.type} ({notice.call_seq}) came under two ids")
    public = {fact.call_seq: fact.type for fact in call.stored if fact.type in PUBLIC_TAGS}
    faults += [f"no webhook came for {tag} ({seq})" for seq, tag in public.items() if seq not in first]
    faults += [
        f"a webhook came for {one.type} ({seq}), which is not stored" for seq, one in first.items() if seq not in public
    ]
    order = list(first)
    faults += [f"the webhook {after} came before {before}" for after, before in pairwise(order) if before < after]
    return faults


def crossed(call: CallHistory) -> list[str]:
    """I7: what of a call was shown or told to another project, or stated in its name."""
    seen = {f"it was shown to {project}" for project in call.shown_to if project != call.project_id}
    told = {f"{one.type} was sent to {one.project_id}" for one in call.notices if one.project_id != call.project_id}
    said = {
        f"{_tag(fact)} was stated for {fact.project_id}" for fact in call.stated if fact.project_id != call.project_id
    }
    return sorted(seen | told | said)


def _tag_of(kind: type[Event]) -> str:
    return str(kind.__struct_config__.tag)


def _tag(fact: Event) -> str:
    return _tag_of(type(fact))
