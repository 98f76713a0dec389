"""Links by which a browser or a colleague listens to a recording without an API key."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import NOTHING, Caller, Permission, in_path, needs
from turncall_control.calls import links, record_routes, repository
from turncall_control.calls.links import LinkRefused
from turncall_control.calls.schemas import RecordingLink
from turncall_control.db.act import current
from turncall_control.errors import NotFound
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId

DEFAULT_LIFETIME_S: Final = 900
LONGEST_LIFETIME_S: Final = 86_400


@post(
    "/v1/calls/{call_id:str}/recording/link",
    status_code=200,
    tags=["calls"],
    opt=needs(Permission.CALLS_READ, in_path("call_id", ids.CALL)),
)
async def make_recording_link(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    lifetime_s: Annotated[
        int, QueryParameter(ge=1, le=LONGEST_LIFETIME_S, description="Seconds for which it opens.")
    ] = DEFAULT_LIFETIME_S,
) -> RecordingLink:
    """A link that anybody may open until it expires. It serves ranges, so a player can seek."""
    call = await repository.get(session, caller.project_id, CallId(call_id))
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lifetime_s)
    project, opens = ids.parsed(ids.PROJECT, call.project_id), ids.parsed(ids.CALL, call.id)
    segment = links.mint(plane.config.key_pepper, links.RECORDING, project, opens, until.timestamp())
    return RecordingLink(url=f"{plane.config.public_url}/recordings/{segment}", expires_at=until)


@get(
    "/recordings/{link:str}",
    tags=["calls"],
    opt=needs(
        Permission.SIGNED,
        NOTHING,
        fails=[LinkRefused, NotFound, record_routes.RangeNotSatisfiable, record_routes.RatesDiffer],
    ),
    media_type="audio/wav",
    responses={
        206: ResponseSpec(bytes, generate_examples=False, description="The bytes asked for.", media_type="audio/wav"),
    },
)
async def open_recording_link(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    link: FromPath[str],
    range_header: Annotated[str | None, HeaderParameter(name="Range", description="One range of bytes.")] = None,
) -> Stream:
    """The recording behind a link, as `get_call_recording` gives it."""
    found = links.opened(plane.config.key_peppers, links.RECORDING, link, datetime.now(UTC).timestamp())
    project_id, call_id = ProjectId(ids.written(ids.PROJECT, found[0])), CallId(ids.written(ids.CALL, found[1]))
    await plane.settings.of(project_id)  # raises `NotFound` for a project that was deleted
    act = current()
    assert act is not None  # `attributed` is around every application
    act.listens(plane.database, "open_recording_link", project_id, call_id)
    answer = await record_routes.served(plane, project_id, call_id, range_header, request.headers.get("if-range"))
    answer.headers["Cache-Control"] = "private, no-store"
    return answer


ROUTES: Final = (make_recording_link, open_recording_link)
