"""From rows to what the API and webhooks show. Pure."""

from typing import Any, cast

import msgspec

from turncall_control.chat.model import MessageRow, SessionRow
from turncall_control.chat.schemas import AttachmentView, MessageView, SessionView
from turncall_proto.call import TextChannel
from turncall_proto.job import Lookup, ModelUse, ToolUsed


def session_view(row: SessionRow) -> SessionView:
    """A session's row as users see it."""
    return SessionView(
        id=row.id,
        project_id=row.project_id,
        agent_id=row.agent_id,
        version_id=row.version_id,
        variant=row.variant,
        channel=cast(TextChannel, row.channel),
        number_id=row.number_id,
        contact=row.contact,
        state=row.state,
        is_taken_over=row.is_taken_over,
        variables=row.variables,
        metadata=row.metadata_,
        message_count=row.message_count,
        created_at=row.created_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
    )


def message_view(row: MessageRow) -> MessageView:
    """A message's row as users see it."""
    return MessageView(
        id=row.id,
        session_id=row.session_id,
        seq=row.seq,
        author=row.author,
        text=row.text,
        tools=msgspec.convert(row.tools, tuple[ToolUsed, ...]),
        knowledge=msgspec.convert(row.knowledge, tuple[Lookup, ...]),
        used=msgspec.convert(row.used, tuple[ModelUse, ...]),
        answers=row.answers,
        failure=row.failure,
        channel=cast(Any, row.channel),
        number_id=row.number_id,
        call_id=row.call_id,
        told_on=row.told_on,
        attachments=msgspec.convert(row.attachments, tuple[AttachmentView, ...]),
        delivery=cast(Any, "queued" if row.delivery == "asked" else row.delivery),
        delivery_failure=cast(Any, row.delivery_failure),
        created_at=row.created_at,
    )
