"""What is erased, as the API takes and shows it."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_control.routing import E164
from turncall_proto.ids import ProjectId


class ProjectDeletion(Struct, frozen=True, kw_only=True):
    """A project that is deleted. It answers to nobody; what it held is there until the purge."""

    project_id: ProjectId
    deleted_at: Moment
    purge_at: Annotated[Moment, Meta(description="When everything in it begins to be deleted for good.")]


class PersonNumber(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The phone number of a person on the other side of calls."""

    number: E164


class NumberErased(Struct, frozen=True, kw_only=True):
    """What was deleted of a number's calls and sessions, and what is left; ask again until nothing is."""

    deleted: int
    sessions: Annotated[int, Meta(description="Conversations in writing that were deleted.")]
    remaining: Annotated[int, Meta(description="Calls that were left for the next request.")]
    unsettled: Annotated[int, Meta(description="Calls that are live, or over for less than a minute or so.")]
