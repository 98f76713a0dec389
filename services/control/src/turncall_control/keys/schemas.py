"""An API key as the API takes and shows it."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.auth import Role
from turncall_control.http.fields import Label, Moment
from turncall_proto.ids import KeyId, ProjectId


class KeyNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made."""

    name: Label
    role: Annotated[Role, Meta(description="At most the role of the key that asks.")]
    expires_at: Annotated[Moment | None, Meta(description="When it stops working; null for never.")] = None


class KeyRotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key is replaced by another one of the same name and role."""

    overlap_s: Annotated[
        int, Meta(ge=0, le=7 * 86_400, description="How long the old key goes on working, in seconds.")
    ] = 86_400
    expires_at: Annotated[Moment | None, Meta(description="When the new key stops working; null for never.")] = None


class KeyView(Struct, frozen=True, kw_only=True):
    """A key without its text."""

    id: KeyId
    project_id: ProjectId
    name: str
    role: Role
    prefix: Annotated[str, Meta(description="How the key begins.")]
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Annotated[Moment | None, Meta(description="To the minute.")]
    revoked_at: Moment | None
    successor_id: Annotated[KeyId | None, Meta(description="The key that it was rotated to.")]


class KeyMade(Struct, frozen=True, kw_only=True):
    """A new key, with its text for the first and last time."""

    key: KeyView
    secret: Annotated[str, Meta(description="The key itself, shown once: send it as `Authorization: Bearer`.")]
