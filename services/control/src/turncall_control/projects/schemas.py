"""A project as the API takes and shows it."""

from typing import Annotated

from msgspec import Meta, Struct

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


class SigningSecret(Struct, frozen=True, kw_only=True):
    """What requests to the project's own servers are signed with."""

    secret: Annotated[str, Meta(description="whsec_…, for any library of Standard Webhooks.")]
