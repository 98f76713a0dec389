"""/v1/calls: the calls of a project, and ending one."""

from datetime import datetime
from typing import Annotated, Final

from litestar import get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.calls import command_routes, duties, ending, link_routes, record_routes, repository
from turncall_control.calls.commanding import CallOver
from turncall_control.calls.repository import CallsWanted
from turncall_control.calls.schemas import CallChange, CallView, EndTaken
from turncall_control.calls.views import call_view
from turncall_control.db.engine import in_project
from turncall_control.errors import Conflict, Invalid
from turncall_control.http.filters import marks
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_proto import ids
from turncall_proto.call import FINAL, CallState, Channel, Direction, EndedReason
from turncall_proto.ids import AgentId, CallId, NumberId, VersionId
from turncall_proto.variables import MOST_METADATA


class EndRefused(Conflict):
    """The worker that holds the call did not end it; the detail is its own."""

    name, title = "end-refused", "The call cannot be ended at this moment"


def calls_wanted(
    status: Annotated[CallState | None, QueryParameter(description="Calls that stand here.")] = None,
    ended_reason: Annotated[EndedReason | None, QueryParameter(description="Calls that ended for this reason.")] = None,
    direction: Annotated[Direction | None, QueryParameter(description="Who called whom.")] = None,
    channel: Annotated[Channel | None, QueryParameter(description="How the caller is connected.")] = None,
    is_test: Annotated[bool | None, QueryParameter(description="Calls of tests, or all others.")] = None,
    agent_id: Annotated[str | None, QueryParameter(description="Calls that this agent was to answer.")] = None,
    version_id: Annotated[str | None, QueryParameter(description="Calls that this version served.")] = None,
    variant: Annotated[str | None, QueryParameter(description="Calls that fell to this variant of a number.")] = None,
    number_id: Annotated[str | None, QueryParameter(description="Calls of this number.")] = None,
    from_number: Annotated[str | None, QueryParameter(max_length=64, description="Exactly this caller.")] = None,
    to_number: Annotated[str | None, QueryParameter(max_length=64, description="Exactly this number.")] = None,
    metadata: Annotated[
        list[str] | None, QueryParameter(description="`key:value`; given several times, calls that have them all.")
    ] = None,
    created_from: Annotated[datetime | None, QueryParameter(description="Calls made at this moment or later.")] = None,
    created_until: Annotated[datetime | None, QueryParameter(description="Calls made before this moment.")] = None,
) -> CallsWanted:
    """The filters of the list. Raises `Invalid` for an id of the wrong form."""
    for name, prefix, text in (
        ("agent_id", ids.AGENT, agent_id),
        ("version_id", ids.VERSION, version_id),
        ("number_id", ids.NUMBER, number_id),
    ):
        _check_id(name, prefix, text)
    return CallsWanted(
        status=status,
        ended_reason=ended_reason,
        direction=direction,
        channel=channel,
        is_test=is_test,
        agent_id=None if agent_id is None else AgentId(agent_id),
        version_id=None if version_id is None else VersionId(version_id),
        variant=variant,
        number_id=None if number_id is None else NumberId(number_id),
        from_number=from_number,
        to_number=to_number,
        metadata=marks(metadata or []),
        created_from=created_from,
        created_until=created_until,
    )


@get(
    "/v1/calls",
    tags=["calls"],
    opt=needs(Permission.CALLS_READ, IN_PROJECT),
    dependencies={"wanted": Provide(calls_wanted, sync_to_thread=False)},
)
async def list_calls(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    wanted: NamedDependency[CallsWanted],
) -> Page[CallView]:
    """The project's calls, newest first."""
    rows = await repository.page(session, caller.project_id, wanted, page)
    return paged(rows, page, call_view, repository.call_key)


@get("/v1/calls/{call_id:str}", tags=["calls"], opt=needs(Permission.CALLS_READ, in_path("call_id", ids.CALL)))
async def get_call(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> CallView:
    """One call."""
    return call_view(await repository.get(session, caller.project_id, CallId(call_id)))


@patch("/v1/calls/{call_id:str}", tags=["calls"], opt=needs(Permission.CALLS_WRITE, in_path("call_id", ids.CALL)))
async def change_call(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    data: JSONBody[CallChange],
) -> CallView:
    """Changes a call's metadata, key by key, also once the call is over: null takes a key away."""
    row = await repository.get(session, caller.project_id, CallId(call_id), is_locked=True)
    kept = row.metadata_ | data.metadata
    metadata = {key: value for key, value in kept.items() if value is not None}
    if len(metadata) > MOST_METADATA:
        raise Invalid.at("metadata", f"It would have {len(metadata)} keys; {MOST_METADATA} are the most")
    row.metadata_ = metadata
    return call_view(row)


@post(
    "/v1/calls/{call_id:str}/end",
    status_code=200,
    tags=["calls"],
    opt=needs(Permission.CALLS_WRITE, in_path("call_id", ids.CALL), fails=[CallOver, EndRefused], idempotent=True),
)
async def end_call(plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str]) -> EndTaken:
    """Ends a live call: its worker confirms, or the carrier closes the line if no worker does. 409 once it is over."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await repository.get(session, caller.project_id, CallId(call_id))
    if row.status in FINAL:
        raise CallOver
    reply = await ending.asked(plane, row.id)
    if reply is not None and reply.outcome == "refused":
        raise EndRefused(reply.detail)
    if reply is not None and reply.outcome == "done":
        return EndTaken(taken_by="worker")
    if not await ending.closed(plane, row.id):
        raise CallOver
    return EndTaken(taken_by="carrier")


def _check_id(name: str, prefix: str, text: str | None) -> None:
    if text is None:
        return
    try:
        ids.parsed(prefix, text)
    except ids.MalformedId as error:
        raise Invalid.at(name, str(error)) from error


CALLS: Final = Slice(
    name="calls",
    routes=(
        list_calls,
        get_call,
        change_call,
        end_call,
        *command_routes.ROUTES,
        *record_routes.ROUTES,
        *link_routes.ROUTES,
    ),
    tasks=(
        duties.watch_workers,
        duties.learn_routes,
        duties.project_facts,
        duties.settle_calls,
        duties.keep_recordings,
        duties.hang_up_calls,
        duties.hand_off_calls,
        duties.transfer_calls,
        duties.keep_calls,
        duties.count_calls,
    ),
)
