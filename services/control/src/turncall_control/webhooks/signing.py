"""The secrets of subscriptions: made here, kept in the vault, two at a time while one replaces the other."""

from datetime import timedelta
from typing import Final

from turncall_control.plane import Plane
from turncall_egress.signing import new_secret
from turncall_proto.ids import ProjectId, WebhookId
from turncall_runtime.secret import Secret

OVERLAP: Final = timedelta(hours=24)
"""Requests are signed with the replaced secret too for as long."""


def purpose(webhook_id: str) -> str:
    """What the vault knows a subscription's secret by."""
    return f"webhook/{webhook_id}"


async def made(plane: Plane, project_id: ProjectId, webhook_id: WebhookId) -> tuple[str, bytes]:
    """A new secret, to be shown once, and the box to be stored. Call it before a transaction begins."""
    secret = new_secret()
    return secret, await plane.vault.encrypt(project_id, purpose(webhook_id), Secret(secret))
