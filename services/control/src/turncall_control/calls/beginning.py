"""A call that is asked for, by a user or a page: its row and its first facts, in one transaction."""

from datetime import UTC, datetime
from typing import Any, cast

from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.model import CallRow
from turncall_control.calls.projector import record
from turncall_control.db.engine import bare
from turncall_proto.call import Channel, Direction
from turncall_proto.events import CallInitializing, CallRouted


async def begin(session: AsyncSession, call: CallRow) -> None:
    """Stores a new call, and states that it is there and, where that was not plain, how it was decided who answers."""
    session.add(call)
    await session.flush()
    header: dict[str, Any] = {
        "call_id": call.id,
        "project_id": call.project_id,
        "epoch": 0,
        "seq": UNNUMBERED,
        "at": datetime.now(UTC),
        "agent_id": call.agent_id,
        "version_id": call.version_id,
        "variant": call.variant,
    }
    facts: list[CallInitializing | CallRouted] = [
        CallInitializing(
            channel=cast(Channel, call.channel),
            direction=cast(Direction, call.direction),
            from_number=call.from_number,
            to_number=call.to_number,
            provider=call.provider,
            provider_call_id=call.provider_call_id,
            variables=call.variables,
            metadata=call.metadata_,
            **header,
        )
    ]
    if call.routing is not None:
        facts.append(CallRouted(**asdict(call.routing), **header))
    await record(await bare(session), [own(fact) for fact in facts])
    await session.refresh(call)
