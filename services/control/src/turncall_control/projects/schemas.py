"""A project as the API takes and shows it."""

from msgspec import Struct

from turncall_control.http.fields import Label, Moment
from turncall_proto.ids import ProjectId


class ProjectNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project to be made."""

    name: Label


class ProjectChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be changed about a project."""

    name: Label


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project."""

    id: ProjectId
    name: str
    created_at: Moment
