"""/v1/numbers/{number_id}/experiment: the variants of a weighted routing side by side, by one outcome."""

from datetime import datetime
from typing import Annotated, Final, Literal, LiteralString

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta, Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.errors import Invalid
from turncall_control.http.fields import Moment
from turncall_control.numbers import repository as numbers
from turncall_control.usage.intervals import Difference, Share, difference, share
from turncall_control.usage.span import span
from turncall_proto import ids
from turncall_proto.ids import NumberId

Measure = Literal["success", "answered", "transferred", "ended_by_agent"]
_TALKED: Final[LiteralString] = "c.answered_at is not null and c.ended_reason is not null"
_COUNTED: Final[dict[Measure, tuple[LiteralString, LiteralString]]] = {
    "success": ("read.is_success is not null", "read.is_success"),
    "answered": ("c.answered_at is not null or c.ended_reason is not null", "c.answered_at is not null"),
    "transferred": (_TALKED, "c.ended_reason = 'transferred'"),
    "ended_by_agent": (_TALKED, "c.ended_reason = 'assistant_ended_call'"),
}
"""Of each outcome, which calls are of the sample, and which of those have it."""
_READ: Final[LiteralString] = """
    left join lateral (
        select (e.payload -> 'findings' ->> 'is_success')::boolean as is_success from call_events e
        where e.call_id = c.id and e.type = 'analysis.completed'
            and e.payload -> 'findings' ->> 'is_success' is not null
        order by e.call_seq desc limit 1
    ) read on true
"""


class VariantShare(Struct, frozen=True, kw_only=True):
    """One variant, over all versions of its agent that answered meanwhile."""

    variant: str
    calls: Annotated[int, Meta(description="All of them, live ones too; those of the sample are fewer.")]
    share: Share
    above: Annotated[
        Difference | None,
        Meta(description="By how much it is above the baseline; null for the baseline, and without samples."),
    ]


class Experiment(Struct, frozen=True, kw_only=True):
    """How the callers of each variant fared between two moments."""

    since: Moment
    until: Moment
    outcome: Measure
    baseline: Annotated[str | None, Meta(description="The variant that the others are held against; null without any.")]
    variants: tuple[VariantShare, ...]


@get(
    "/v1/numbers/{number_id:str}/experiment",
    tags=["numbers"],
    opt=needs(Permission.CALLS_READ, in_path("number_id", ids.NUMBER)),
)
async def get_experiment(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    number_id: FromPath[str],
    outcome: Annotated[
        Measure,
        QueryParameter(
            description="success: of the calls that an analysis judged by its rubric. answered: of all that rang. "
            "transferred, ended_by_agent: of those that were answered and are over."
        ),
    ] = "success",
    baseline: Annotated[
        str | None,
        QueryParameter(max_length=64, description="The variant to hold the others against; the first by name."),
    ] = None,
    since: Annotated[
        datetime | None, QueryParameter(description="From this moment on; 30 days before the end.")
    ] = None,
    until: Annotated[datetime | None, QueryParameter(description="To before this moment; this one.")] = None,
) -> Experiment:
    """Whether one variant of the number's weighted routing does better: shares, samples and 95 % intervals.

    Callers keep their variant, so that a caller who phones five times counts five times for it.
    """
    begin, end = span(since, until)
    number = await numbers.get(session, caller.project_id, NumberId(number_id))
    counted, hit = _COUNTED[outcome]
    rows = (
        await session.execute(
            text(
                f"select c.variant, count(*) as calls, count(*) filter (where {counted}) as size,"
                f" count(*) filter (where ({counted}) and {hit}) as hits from calls c {_READ}"
                " where c.project_id = :project and c.number_id = :number and c.variant is not null"
                " and c.created_at >= :since and c.created_at < :until group by 1 order by 1"
            ),
            {
                "project": ids.parsed(ids.PROJECT, caller.project_id),
                "number": ids.parsed(ids.NUMBER, number.id),
                "since": begin,
                "until": end,
            },
        )
    ).all()
    shares = {row.variant: share(row.hits, row.size) for row in rows}
    against = baseline if baseline is not None else next(iter(shares), None)
    if baseline is not None and baseline not in shares:
        raise Invalid.at("baseline", "No call of that time fell to a variant of this name")
    return Experiment(
        since=begin,
        until=end,
        outcome=outcome,
        baseline=against,
        variants=tuple(
            VariantShare(
                variant=row.variant,
                calls=row.calls,
                share=shares[row.variant],
                above=None
                if against is None or row.variant == against
                else difference(shares[row.variant], shares[against]),
            )
            for row in rows
        ),
    )
