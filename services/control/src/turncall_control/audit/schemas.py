"""An entry of the audit log as the API shows it."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_control.trail import Change, Effect
from turncall_proto.ids import AuditId, ProjectId


class EntryView(Struct, frozen=True, kw_only=True):
    """One change of one object, or one act upon it."""

    id: AuditId
    project_id: Annotated[ProjectId | None, Meta(description="Null for what concerns the whole installation.")]
    created_at: Moment
    actor: Annotated[str, Meta(description="The id of a key, `platform`, or `link`: whoever had a link.")]
    operation: Annotated[str, Meta(description="The operation's id in this reference, such as `publish_agent`.")]
    object_id: Annotated[str, Meta(description="The id of what was changed or listened to; empty for none.")]
    effect: Effect
    changes: Annotated[
        tuple[Change, ...], Meta(description="The fields that changed. Secrets and personal values read `***`.")
    ]
    request_id: str
    address: Annotated[str, Meta(description="Where the request came from.")]
