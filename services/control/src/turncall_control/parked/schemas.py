"""A parked message as the operator sees it: what it was for and why it was set aside, never what it says."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment


class ParkedView(Struct, frozen=True, kw_only=True):
    """One message that failed again and again while others went through."""

    id: Annotated[int, Meta(description="Its place among the parked ones.")]
    stream: Annotated[str, Meta(description="Where it came from.")]
    consumer: Annotated[str, Meta(description="Who could not take it.")]
    subject: str
    error: Annotated[str, Meta(description="What the last try ended with.")]
    size_bytes: int
    parked_at: Moment | None


class ParkedSeen(Struct, frozen=True, kw_only=True):
    """Parked messages, the oldest first. They are kept for two weeks."""

    items: tuple[ParkedView, ...]
    next_after: Annotated[int | None, Meta(description="Pass it as `after` for the next ones; null on the last page.")]


class ParkedChosen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the parked messages are meant."""

    ids: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**62)], ...], Meta(min_length=1, max_length=200)]


class ParkedDone(Struct, frozen=True, kw_only=True):
    """What became of the chosen ones."""

    done: Annotated[tuple[int, ...], Meta(description="They are parked no longer.")]
    gone: Annotated[tuple[int, ...], Meta(description="No such message was parked.")]
