"""Takeaways as the API takes and shows them."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from turncall_control.http.fields import Moment
from turncall_proto.agent import Name
from turncall_proto.ids import ProjectId, TakeawayId

Description = Annotated[str, Meta(max_length=2000, description="For people.")]
Instructions = Annotated[
    str, Meta(max_length=4000, description="For the model that reads: what counts, and what to do in doubt.")
]
Schema = Annotated[
    dict[str, Any],
    Meta(
        description="JSON Schema of an object; what is taken out fits it.",
        examples=[{"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}],
    ),
]


class TakeawayNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A takeaway to be made."""

    name: Name
    description: Description = ""
    instructions: Instructions = ""
    schema: Schema


class TakeawayChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different from the next reading on; agents name it by its name, which stays."""

    description: Description | UnsetType = UNSET
    instructions: Instructions | UnsetType = UNSET
    schema: Schema | UnsetType = UNSET


class TakeawayView(Struct, frozen=True, kw_only=True):
    """Something that is taken out of the conversations of agents which name it."""

    id: TakeawayId
    project_id: ProjectId
    name: str
    description: str
    instructions: str
    schema: dict[str, Any]
    created_at: Moment
    changed_at: Moment
