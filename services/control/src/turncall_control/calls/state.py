"""Where a call stands, folded from both planes' facts in whatever order they come. Pure: no clock, no database.

Every part of a `Standing` is a maximum, a minimum or a union over the facts seen, so any permutation of the same facts,
with any of them repeated, gives the same standing.
"""

from datetime import datetime
from enum import IntEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from turncall_proto.call import FINAL, CallState, EndedReason
from turncall_proto.codec import UnknownEvent
from turncall_proto.events import (
    CallAnswered,
    CallEnded,
    CallHandoff,
    CallInitializing,
    CallRinging,
    CallStarted,
    CallTransferred,
    CarrierReported,
    DialFailed,
    EndIntended,
    EpochClosed,
    EpochOpened,
    Event,
    ForwardBegun,
    ForwardEnded,
    TransferBegun,
    VoicemailDetected,
)


class Authority(IntEnum):
    """Whose word counts when two disagree about an end. An intent of control explains an end; it does not make one.

    A refusal is the intent to end a call that nobody answered: the carrier's busy or no-answer only repeats it.
    """

    NOBODY = 0
    REAPER = 1
    WORKER = 2
    INTENT = 3
    CARRIER = 4
    REFUSAL = 5


class Mark(Struct, frozen=True, array_like=True):
    """Who said something, and under which number."""

    authority: int = Authority.NOBODY
    epoch: int = 0
    seq: int = 0

    def outranks(self, other: "Mark") -> bool:
        """More authority first; then the later epoch; within one epoch the first word stands."""
        return (self.authority, self.epoch, -self.seq) > (other.authority, other.epoch, -other.seq)


class Standing(Struct, frozen=True, kw_only=True):
    """What the facts seen so far say about a call.

    ``live_mark`` numbers the newest live state, ``end_mark`` the word that ``status`` and ``ended_at`` follow once it
    is final, ``reason_mark`` the word that ``ended_reason`` follows. ``epoch`` is the latest one placed or seen.
    ``left_epoch`` comes from no fact: control sets it under the row's lock when it takes the call away from the worker
    of that epoch, and it does so only while the call lives.
    """

    status: CallState = CallState.INITIATED
    ended_reason: EndedReason | None = None
    epoch: int = 0
    left_epoch: int = 0
    live_mark: tuple[int, int] = (0, 0)
    end_mark: Mark = Mark()
    reason_mark: Mark = Mark()
    end_intended: bool = False
    answered_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    carrier_duration_s: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether somebody has said that the call is over."""
        return self.status in FINAL

    @property
    def has_carriers_word(self) -> bool:
        """Whether the carrier itself has said how the call ended."""
        return self.end_mark.authority == Authority.CARRIER


CARRIER_ENDS: Final[dict[str, tuple[CallState, EndedReason | None]]] = {
    "completed": (CallState.COMPLETED, None),
    "busy": (CallState.BUSY, EndedReason.CUSTOMER_BUSY),
    "no-answer": (CallState.NO_ANSWER, EndedReason.CUSTOMER_DID_NOT_ANSWER),
    "failed": (CallState.FAILED, EndedReason.TELEPHONY_FAILED),
    "canceled": (CallState.FAILED, EndedReason.CANCELED),
}
"""A carrier's final words. Its plain ``completed`` says that the line is closed, not who closed it."""

_LAST_EPOCH: Final = 2**31 - 1
"""No live state follows a machine's answer, whichever worker goes on with the call."""
_UNANSWERED: Final = frozenset({CallState.BUSY, CallState.NO_ANSWER})

_NO_SUCH_NUMBER: Final = frozenset({404, 410, 484, 604})
"""SIP answers (RFC 3261, 21.4 and 21.6) that blame the number dialled."""
_TURNED_AWAY: Final = frozenset({603, 607, 608})
"""SIP answers by which somebody turned the call away: declined, unwanted, rejected (RFC 3261, 8197, 8688)."""


def fold(standing: Standing, fact: Event | UnknownEvent) -> Standing:
    """``standing`` after ``fact``; the same fact again changes nothing, and facts may come in any order.

    Live states are ordered by ``(epoch, seq)``. A final state beats a live one for good; among final states the carrier
    beats the worker, and the worker beats the reaper. What a worker says about the end of a call that was taken away
    from it ends nothing: it may have been frozen and have found its socket closed. Facts without a bearing on the
    standing leave it as it is.
    """
    if fact.epoch > standing.epoch:
        standing = replace(standing, epoch=fact.epoch)
    match fact:
        case CallInitializing():
            return _lives(standing, fact, CallState.INITIATED)
        case CallRinging():
            return _lives(standing, fact, CallState.RINGING)
        case CallAnswered():
            answered_at = min(fact.at, standing.answered_at or fact.at)
            return _lives(replace(standing, answered_at=answered_at), fact, CallState.IN_PROGRESS)
        case VoicemailDetected():
            return _lives(standing, fact, CallState.VOICEMAIL, number=(_LAST_EPOCH, fact.seq))
        case EpochOpened():
            return _lives(standing, fact, CallState.IN_PROGRESS)
        case TransferBegun():
            return _lives(standing, fact, CallState.TRANSFERRING)
        case CallTransferred():
            return _explained(standing, fact, Authority.INTENT, EndedReason.TRANSFERRED)
        case CallHandoff():
            return _lives(standing, fact, CallState.HANDED_OFF)
        case CallStarted():
            started_at = min(fact.at, standing.started_at or fact.at)
            return _lives(replace(standing, started_at=started_at), fact, CallState.IN_PROGRESS)
        case EpochClosed(state=CallState() as state, reason=reason) if fact.epoch > standing.left_epoch:
            return _said(standing, fact, Authority.WORKER, state, reason)
        case CarrierReported():
            return _carrier_said(standing, fact)
        case DialFailed():
            # Nobody else has a word on a call that the carrier was not, or not successfully, asked for.
            return _said(standing, fact, Authority.CARRIER, CallState.FAILED, fact.reason)
        case EndIntended():
            authority = Authority.REFUSAL if fact.state in _UNANSWERED else Authority.INTENT
            return _explained(replace(standing, end_intended=True), fact, authority, fact.reason)
        case ForwardBegun():
            # Less than an intent: whoever ends the call meanwhile is why it ends.
            return _explained(standing, fact, Authority.WORKER, EndedReason.FORWARDED)
        case ForwardEnded():
            return _explained(standing, fact, Authority.INTENT, fact.reason)
        case CallEnded():
            return _said(standing, fact, Authority.REAPER, fact.state, fact.reason)
        case _:
            return standing


def _carrier_said(standing: Standing, fact: CarrierReported) -> Standing:
    if fact.duration_s is not None:
        standing = replace(standing, carrier_duration_s=max(fact.duration_s, standing.carrier_duration_s or 0))
    if fact.status not in CARRIER_ENDS:
        return standing
    state, reason = CARRIER_ENDS[fact.status]
    if state is CallState.FAILED and fact.sip_code in _NO_SUCH_NUMBER:
        reason = EndedReason.INVALID_NUMBER
    elif reason is not None and fact.sip_code in _TURNED_AWAY:
        reason = EndedReason.REJECTED
    return _said(standing, fact, Authority.CARRIER, state, reason)


def _said(
    standing: Standing, fact: Event, authority: Authority, state: CallState, reason: EndedReason | None
) -> Standing:
    """Somebody's word on the state the call is in, and on why."""
    if state not in FINAL:
        return _lives(standing, fact, state)
    mark = Mark(authority, fact.epoch, fact.seq)
    if mark.outranks(standing.end_mark):
        standing = replace(standing, status=state, end_mark=mark, ended_at=fact.at)
    return _explained(standing, fact, authority, reason)


def _explained(standing: Standing, fact: Event, authority: Authority, reason: EndedReason | None) -> Standing:
    mark = Mark(authority, fact.epoch, fact.seq)
    if reason is None or not mark.outranks(standing.reason_mark):
        return standing
    return replace(standing, ended_reason=reason, reason_mark=mark)


def _lives(standing: Standing, fact: Event, state: CallState, *, number: tuple[int, int] | None = None) -> Standing:
    number = number or (fact.epoch, fact.seq)
    if number <= standing.live_mark:
        return standing
    return replace(standing, live_mark=number, status=standing.status if standing.is_final else state)


def why_ended(standing: Standing) -> EndedReason:
    """The reason to publish for a call that is over.

    Every end that we bring about is stored as an intent first, so a line that the carrier reports as completed, with
    nobody else to say why, was closed by the other side.
    """
    if standing.ended_reason is not None:
        return standing.ended_reason
    if standing.has_carriers_word and standing.status is CallState.COMPLETED:
        return EndedReason.CUSTOMER_ENDED_CALL
    return EndedReason.UNKNOWN


def duration_ms(standing: Standing) -> int:
    """How long the two sides were connected, by our own clock, held to within a second of the carrier's count."""
    carrier_ms = None if standing.carrier_duration_s is None else standing.carrier_duration_s * 1000
    if standing.answered_at is None or standing.ended_at is None:
        return carrier_ms or 0
    ours_ms = max(0, round((standing.ended_at - standing.answered_at).total_seconds() * 1000))
    if carrier_ms is None:
        return ours_ms
    return min(max(ours_ms, carrier_ms - 1000), carrier_ms + 1000)
