"""Sums over what workers reported, within a project."""

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId

By = Literal["day", "agent", "vendor"]

_KEYS: Final[dict[By, str]] = {
    "day": "to_char(e.at at time zone 'UTC', 'YYYY-MM-DD')",
    "agent": "coalesce('agt_' || replace(c.agent_id::text, '-', ''), '')",
    "vendor": "e.payload->>'vendor'",
}
_SUMS: Final = ", ".join(
    f"coalesce(sum((e.payload->>'{name}')::bigint), 0)::bigint as {name}"
    for name in (
        "audio_ms",
        "input_tokens",
        "output_tokens",
        "characters",
        "input_audio_tokens",
        "output_audio_tokens",
    )
)
_VENDOR: Final = ", ".join(f"e.payload->>'{name}' as {name}" for name in ("kind", "vendor", "model"))
_STORED: Final = (
    "call_events e join calls c on c.id = e.call_id where e.project_id = :project and e.type = 'usage.reported'"
)


class Sum(Struct, frozen=True, kw_only=True):
    """What one vendor did in one stage for the calls of one key."""

    key: str
    kind: str
    vendor: str
    model: str
    audio_ms: int
    input_tokens: int
    output_tokens: int
    characters: int
    input_audio_tokens: int
    output_audio_tokens: int


async def of_call(session: AsyncSession, project_id: ProjectId, call_id: CallId) -> list[Sum]:
    """What each vendor did for a call, over all its epochs."""
    query = (
        f"select '' as key, {_VENDOR}, {_SUMS} from {_STORED} and e.call_id = :call group by 2, 3, 4 order by 2, 3, 4"
    )
    return await _sums(session, query, project_id, call=ids.parsed(ids.CALL, call_id))


async def summed(
    session: AsyncSession, project_id: ProjectId, by: By, since: datetime, until: datetime
) -> tuple[list[Sum], dict[str, int]]:
    """What each vendor did, by key in order, and how many calls each key has; ``until`` is not included. Calls of tests
    do not count."""
    span = f"{_STORED} and c.mocks is null and e.at >= :since and e.at < :until"
    query = f"select {_KEYS[by]} as key, {_VENDOR}, {_SUMS} from {span} group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    sums = await _sums(session, query, project_id, since=since, until=until)
    counted = await session.execute(
        text(f"select {_KEYS[by]}, count(distinct e.call_id) from {span} group by 1"),
        {"project": ids.parsed(ids.PROJECT, project_id), "since": since, "until": until},
    )
    return sums, {row[0]: row[1] for row in counted}


async def _sums(session: AsyncSession, query: str, project_id: ProjectId, **values: object) -> list[Sum]:
    rows = await session.execute(text(query), {"project": ids.parsed(ids.PROJECT, project_id), **values})
    return [Sum(**row) for row in rows.mappings()]
