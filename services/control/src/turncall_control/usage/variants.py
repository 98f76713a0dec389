"""/v1/numbers/{number_id}/variants: what became of the callers of each variant, version by version."""

from datetime import datetime
from itertools import groupby
from typing import Annotated, Any, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta, Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.http.fields import Moment
from turncall_control.numbers import repository as numbers
from turncall_control.usage.span import span
from turncall_proto import ids
from turncall_proto.ids import AgentId, NumberId, ProjectId, VersionId

_OUTCOMES: Final = text("""
    select c.variant, c.agent_id, c.version_id, v.number, c.ended_reason,
        count(*) as calls, count(c.answered_at) as answered,
        sum(extract(epoch from c.ended_at - c.answered_at)) filter (where c.answered_at is not null) as talked_s,
        min(c.created_at) as first_at, max(c.created_at) as last_at
    from calls c left join agent_versions v on v.id = c.version_id
    where c.project_id = :project and c.number_id = :number and c.variant is not null
        and c.created_at >= :since and c.created_at < :until
    group by 1, 2, 3, 4, 5 order by 1, 2, 4, 3, 5
""")


class VariantOutcome(Struct, frozen=True, kw_only=True):
    """What became of the calls of one variant while one version of its agent answered; live ones count too."""

    variant: str
    agent_id: Annotated[AgentId | None, Meta(description="Null for calls that no agent could answer.")]
    version_id: VersionId | None
    version_number: int | None
    calls: int
    answered: int
    mean_duration_ms: Annotated[
        int | None, Meta(description="From the answer to the end, of those that have ended; null without one.")
    ]
    ended: Annotated[dict[str, int], Meta(description="Ended calls by their reason.", examples=[{"transferred": 3}])]
    first_at: Moment
    last_at: Moment


class VariantReport(Struct, frozen=True, kw_only=True):
    """A number's weighted routing between two moments, by variant and version."""

    since: Moment
    until: Moment
    items: tuple[VariantOutcome, ...]


@get(
    "/v1/numbers/{number_id:str}/variants",
    tags=["numbers"],
    opt=needs(Permission.CALLS_READ, in_path("number_id", ids.NUMBER)),
)
async def get_variants(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    number_id: FromPath[str],
    since: Annotated[
        datetime | None, QueryParameter(description="From this moment on; 30 days before the end.")
    ] = None,
    until: Annotated[datetime | None, QueryParameter(description="To before this moment; this one.")] = None,
) -> VariantReport:
    """How the variants of the number's weighted routing do, also those that it has no more; a year at most.

    A variant whose agent was published meanwhile has one entry for each version that answered.
    """
    begin, end = span(since, until)
    number = await numbers.get(session, caller.project_id, NumberId(number_id))
    items = await _outcomes(session, caller.project_id, number.id, begin, end)
    return VariantReport(since=begin, until=end, items=items)


async def _outcomes(
    session: AsyncSession, project_id: ProjectId, number_id: NumberId, since: datetime, until: datetime
) -> tuple[VariantOutcome, ...]:
    rows = (
        await session.execute(
            _OUTCOMES,
            {
                "project": ids.parsed(ids.PROJECT, project_id),
                "number": ids.parsed(ids.NUMBER, number_id),
                "since": since,
                "until": until,
            },
        )
    ).all()
    # One row for each reason; the rows of one version of one variant follow each other.
    by_version = groupby(rows, key=lambda row: (row.variant, row.agent_id, row.version_id))
    return tuple(_outcome(list(part)) for _, part in by_version)


def _outcome(rows: list[Any]) -> VariantOutcome:
    first = rows[0]
    over = [row for row in rows if row.ended_reason is not None and row.answered]
    talked = sum(row.answered for row in over)
    return VariantOutcome(
        variant=first.variant,
        agent_id=AgentId(ids.written(ids.AGENT, first.agent_id)) if first.agent_id else None,
        version_id=VersionId(ids.written(ids.VERSION, first.version_id)) if first.version_id else None,
        version_number=first.number,
        calls=sum(row.calls for row in rows),
        answered=sum(row.answered for row in rows),
        mean_duration_ms=round(1000 * float(sum(row.talked_s for row in over)) / talked) if talked else None,
        ended={row.ended_reason: row.calls for row in rows if row.ended_reason is not None},
        first_at=min(row.first_at for row in rows),
        last_at=max(row.last_at for row in rows),
    )
