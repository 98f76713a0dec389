"""/v1/usage, and a call's part of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.calls import repository as calls
from turncall_control.plane import Plane, Slice
from turncall_control.prices import Prices, cost_micros, total_micros
from turncall_control.usage import repository
from turncall_control.usage.experiments import get_experiment
from turncall_control.usage.repository import By, Sum
from turncall_control.usage.schemas import CallUsage, UsageRow, UsageSummary, VendorUsage
from turncall_control.usage.span import span
from turncall_control.usage.variants import get_variants
from turncall_proto import ids
from turncall_proto.ids import CallId


@get("/v1/calls/{call_id:str}/usage", tags=["calls"], opt=needs(Permission.CALLS_READ, in_path("call_id", ids.CALL)))
async def get_call_usage(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
) -> CallUsage:
    """What each vendor did for a call, and its cost where the operator has set prices."""
    call = await calls.get(session, caller.project_id, CallId(call_id))
    vendors = _priced(plane.prices, await repository.of_call(session, caller.project_id, call.id))
    return CallUsage(
        vendors=vendors,
        currency=plane.prices.currency,
        cost_micros=total_micros(vendor.cost_micros for vendor in vendors),
    )


@get("/v1/usage", tags=["usage"], opt=needs(Permission.CALLS_READ, IN_PROJECT))
async def get_usage(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    by: Annotated[By, QueryParameter(description="What each row sums up.")] = "day",
    since: Annotated[
        datetime | None, QueryParameter(description="From this moment on; 30 days before the end.")
    ] = None,
    until: Annotated[datetime | None, QueryParameter(description="To before this moment; this one.")] = None,
) -> UsageSummary:
    """What the project's calls used of each vendor, by day, by agent or by vendor; a year at most."""
    begin, end = span(since, until)
    sums, counted = await repository.summed(session, caller.project_id, by, begin, end)
    rows = tuple(_row(plane.prices, key, counted[key], sums) for key in dict.fromkeys(part.key for part in sums))
    return UsageSummary(
        since=begin,
        until=end,
        rows=rows,
        currency=plane.prices.currency,
        cost_micros=total_micros(row.cost_micros for row in rows),
    )


def _row(prices: Prices, key: str, count: int, sums: Iterable[Sum]) -> UsageRow:
    vendors = _priced(prices, (part for part in sums if part.key == key))
    cost = total_micros(vendor.cost_micros for vendor in vendors)
    return UsageRow(key=key, calls=count, vendors=vendors, cost_micros=cost)


def _priced(prices: Prices, sums: Iterable[Sum]) -> tuple[VendorUsage, ...]:
    def view(part: Sum) -> VendorUsage:
        fields = asdict(part)
        del fields["key"]
        return VendorUsage(**fields, cost_micros=cost_micros(prices, part))

    return tuple(view(part) for part in sums)


USAGE: Final = Slice(name="usage", routes=(get_call_usage, get_usage, get_variants, get_experiment))
