"""Facts on their way into the ledger, and as they are shown once they are in."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from turncall_control.calls.state import Standing
from turncall_control.http.fields import Moment
from turncall_proto.call import CallState
from turncall_proto.codec import UnknownEvent, encode
from turncall_proto.events import CallAnswered, CallRinging, CarrierReported, EpochOpened, Event

UNNUMBERED: Final = 0
"""The ``seq`` of a fact of epoch 0 that the ledger has not numbered yet."""


class StoredFact(Struct, frozen=True, kw_only=True):
    """A fact about a call, numbered for its followers."""

    call_seq: Annotated[int, Meta(description="Its place among the call's facts, from 1, without gaps.")]
    type: Annotated[str, Meta(examples=["transcript.final"])]
    epoch: Annotated[int, Meta(description="0: stated by the control plane; later ones each have one worker.")]
    seq: Annotated[int, Meta(description="Its number within the epoch.")]
    at: Moment
    data: Annotated[Any, Meta(description="The fact as it was stated, by the JSON Schema of its type.")]


class Fact(Struct, frozen=True, kw_only=True):
    """A fact with the bytes it came in, so that fields of a newer release are kept."""

    event: Event | UnknownEvent
    data: bytes

    @property
    def tag(self) -> str:
        """The fact's type, unknown ones included."""
        return self.event.tag if isinstance(self.event, UnknownEvent) else str(self.event.__struct_config__.tag)


def own(event: Event) -> Fact:
    """A fact that control states itself."""
    return Fact(event=event, data=b"")


_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def numbered(fact: Fact, call_seq: int) -> StoredFact:
    """The fact as it is kept and shown. U+0000, which ``jsonb`` cannot hold, becomes U+FFFD."""
    event = fact.event
    data = fact.data or encode(event)
    if b"\\u0000" in data:
        data = _NUL.sub(rb"\1\\ufffd", data)
    return StoredFact(
        call_seq=call_seq, type=fact.tag, epoch=event.epoch, seq=event.seq, at=event.at, data=msgspec.Raw(data)
    )


def implied(standing: Standing, event: Event | UnknownEvent) -> CallAnswered | CallRinging | None:
    """What follows from a fact and is not stated yet: that the other side rings, or that the two sides are connected.

    The carrier connected them if a worker has the audio, or if the carrier says so. It rings if the carrier says so
    before anybody said more.
    """
    if standing.answered_at is not None:
        return None
    if isinstance(event, CarrierReported) and event.status == "ringing":
        if standing.status is not CallState.INITIATED:
            return None
        return CallRinging(call_id=event.call_id, project_id=event.project_id, epoch=0, seq=UNNUMBERED, at=event.at)
    at = event.at
    if isinstance(event, CarrierReported):
        lasted_s = event.duration_s or 0
        if not (event.status == "in-progress" or (event.status == "completed" and lasted_s)):
            return None
        at -= timedelta(seconds=lasted_s)
    elif not isinstance(event, EpochOpened):
        return None
    return CallAnswered(call_id=event.call_id, project_id=event.project_id, epoch=0, seq=UNNUMBERED, at=at)
