"""Telling whoever follows a session that something was stored."""

from contextlib import suppress

import msgspec
from msgspec import Struct

from turncall_bus.bus import Away, Bus
from turncall_proto import subjects
from turncall_proto.ids import ProjectId, SessionId


class Stored(Struct, frozen=True, kw_only=True, tag_field="type", tag="session.changed"):
    """There is something to read."""


_STORED = msgspec.json.encode(Stored())


async def tell(bus: Bus, project_id: ProjectId, session_id: SessionId) -> None:
    """Lossy: who follows looks again by itself. Call it after the commit."""
    with suppress(Away):
        await bus.tell(subjects.live(project_id, session_id), _STORED)
