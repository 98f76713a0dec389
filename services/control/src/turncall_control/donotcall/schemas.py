"""The list of numbers that are not called, as the API takes and shows it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_control.routing import E164
from turncall_proto.ids import DoNotCallId
from turncall_proto.marks import PERSONAL

Note = Annotated[str, Meta(max_length=500, description="Why, or from where.", examples=["asked by letter"]), PERSONAL]


class NumbersListed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers that are not to be called any more."""

    numbers: Annotated[tuple[E164, ...], Meta(min_length=1, max_length=1000)]
    note: Note = ""


class Listing(Struct, frozen=True, kw_only=True):
    """What became of numbers that were put on the list."""

    added: Annotated[int, Meta(ge=0)]
    known: Annotated[int, Meta(ge=0, description="They were on it already, and keep their note.")]


class DoNotCallView(Struct, frozen=True, kw_only=True):
    """A number that is not called."""

    id: DoNotCallId
    number: E164
    listed_by: Annotated[
        Literal["api", "person"], Meta(description="person: in a conversation, by the agent's tool `opt_out`.")
    ]
    note: Note
    created_at: Moment
