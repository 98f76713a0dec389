"""/v1/calls/{call_id}/…: what was said, done, measured and recorded on a call, and its live feed."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_blobs import BlobError, NoSuchBlob
from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.calls import recording, repository, views
from turncall_control.calls.facts import StoredFact
from turncall_control.calls.feed import Feed
from turncall_control.calls.recording import MixedRates, Recording, Unsatisfiable
from turncall_control.calls.schemas import KnowledgeUses, ToolUses, Transcript, Turns
from turncall_control.db.engine import in_project
from turncall_control.errors import Conflict, ControlError, Invalid, NotFound, Unavailable
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.events import (
    KnowledgeRetrieved,
    RecordingReady,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    TurnMeasured,
)
from turncall_proto.ids import CallId, ProjectId

_CALL: Final = in_path("call_id", ids.CALL)
_OPT: Final = needs(Permission.CALLS_READ, _CALL)
_LISTEN: Final = needs(Permission.CALLS_READ, _CALL, audited=True)
_Internal = Annotated[bool, QueryParameter(description="Also the facts that are never sent to webhooks.")]
_LARGEST_SEQ: Final = 2**31 - 1


class RangeNotSatisfiable(ControlError):
    """The bytes asked for lie outside the recording."""

    status, name, title = 416, "range-not-satisfiable", "The range lies outside the recording"


class RatesDiffer(Conflict):
    """Parts with different sample rates make no single file."""

    name, title = "rates-differ", "The recording changes its sample rate"


@get("/v1/calls/{call_id:str}/events", tags=["calls"], opt=_OPT)
async def list_call_events(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    page: NamedDependency[PageAsked],
    internal: _Internal = False,
) -> Page[StoredFact]:
    """What happened on a call, in the order of `call_seq`, oldest first."""
    call = await repository.get(session, caller.project_id, CallId(call_id))
    facts = await repository.facts(
        session,
        caller.project_id,
        call.id,
        after=_after(page.after),
        limit=page.limit + 1,
        has_internal=internal,
    )
    return paged(facts, page, lambda fact: fact, lambda fact: (str(fact.call_seq),))


@get("/v1/calls/{call_id:str}/transcript", tags=["calls"], opt=_OPT)
async def get_call_transcript(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> Transcript:
    """What both sides said, as far as it is known; it grows while the call lives."""
    call = await repository.get(session, caller.project_id, CallId(call_id))
    return views.transcript(await repository.facts_of(session, caller.project_id, call.id, TranscriptFinal))


@get("/v1/calls/{call_id:str}/tools", tags=["calls"], opt=_OPT)
async def list_call_tools(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> ToolUses:
    """Every tool that the agent used: arguments, output, latency."""
    call = await repository.get(session, caller.project_id, CallId(call_id))
    called = await repository.facts_of(session, caller.project_id, call.id, ToolCalled)
    returned = await repository.facts_of(session, caller.project_id, call.id, ToolReturned)
    return views.tool_uses(called, returned)


@get("/v1/calls/{call_id:str}/knowledge", tags=["calls"], opt=_OPT)
async def list_call_knowledge(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> KnowledgeUses:
    """What the agent was told of knowledge bases: for which words, with document, heading and page."""
    call = await repository.get(session, caller.project_id, CallId(call_id))
    return views.knowledge_uses(await repository.facts_of(session, caller.project_id, call.id, KnowledgeRetrieved))


@get("/v1/calls/{call_id:str}/turns", tags=["calls"], opt=_OPT)
async def list_call_turns(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> Turns:
    """How long the caller waited for each reply, and for what."""
    call = await repository.get(session, caller.project_id, CallId(call_id))
    return views.turns(await repository.facts_of(session, caller.project_id, call.id, TurnMeasured))


@get(
    "/v1/calls/{call_id:str}/recording",
    tags=["calls"],
    opt=needs(Permission.CALLS_READ, _CALL, fails=[RangeNotSatisfiable, RatesDiffer], audited=True),
    media_type="audio/wav",
    responses={
        206: ResponseSpec(bytes, generate_examples=False, description="The bytes asked for.", media_type="audio/wav"),
    },
)
async def get_call_recording(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    range_header: Annotated[str | None, HeaderParameter(name="Range", description="One range of bytes.")] = None,
) -> Stream:
    """The recording as one WAV file: stereo, the caller left, the agent right. One byte range is served."""
    return await served(plane, caller.project_id, CallId(call_id), range_header, request.headers.get("if-range"))


async def served(
    plane: Plane, project_id: ProjectId, call_id: CallId, range_header: str | None, if_range: str | None
) -> Stream:
    """The answer to a request for a call's recording, whoever was allowed to make it."""
    async with in_project(plane.database, project_id) as session:
        call = await repository.get(session, project_id, call_id)
        if call.recording_deleted_at is not None:
            raise NotFound("the recording has been deleted")
        ready = await repository.facts_of(session, project_id, call.id, RecordingReady)
    try:
        whole = recording.assembled(ready)
    except MixedRates as error:
        raise RatesDiffer(str(error)) from error
    if whole is None:
        raise NotFound("the call has no recording")
    start, end, status_code = _asked_bytes(whole, range_header, if_range)
    await _check_stored(plane, project_id, recording.first_key(whole, start))
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start), "ETag": whole.etag}
    if status_code == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{whole.size_bytes}"
    return Stream(
        _sound(plane, project_id, whole, start, end), media_type="audio/wav", status_code=status_code, headers=headers
    )


@get(
    "/v1/calls/{call_id:str}/events/stream",
    tags=["calls"],
    opt=_LISTEN,
    media_type="text/event-stream",
)
async def follow_call(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    internal: _Internal = False,
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", description="The last `call_seq` that was received.")
    ] = None,
) -> Stream:
    """Server-sent events: what happened so far, then what happens, until `call.ended`. The id is the `call_seq`.

    A key that is revoked or expires stops hearing within five seconds.
    """
    call = await repository.get(session, caller.project_id, CallId(call_id))
    after = _seq("Last-Event-ID", last_event_id) if last_event_id else 0
    feed = Feed(plane, caller, call.id, after=after, has_internal=internal)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Stream(feed.events(), media_type="text/event-stream", headers=headers)


def _asked_bytes(whole: Recording, range_header: str | None, if_range: str | None) -> tuple[int, int, int]:
    """First byte, the byte behind the last, and the status; a range of another state of the file is ignored."""
    if range_header is None or (if_range is not None and if_range != whole.etag):
        return 0, whole.size_bytes, 200
    try:
        asked = recording.byte_range(range_header, whole.size_bytes)
    except Unsatisfiable as error:
        headers = {"Content-Range": f"bytes */{whole.size_bytes}", "Accept-Ranges": "bytes"}
        raise RangeNotSatisfiable(str(error), headers=headers) from error
    return (*asked, 206) if asked else (0, whole.size_bytes, 200)


async def _sound(plane: Plane, project_id: ProjectId, whole: Recording, start: int, end: int) -> AsyncIterator[bytes]:
    async with plane.shelves.of(project_id) as store:
        async for piece in recording.stream(store, whole, start, end):
            yield piece


async def _check_stored(plane: Plane, project_id: ProjectId, key: str) -> None:
    """Fails before the first byte is sent, where failing can still be told."""
    try:
        async with plane.shelves.of(project_id) as store:
            await store.stat(key)
    except NoSuchBlob as error:
        raise NotFound("the recording has been deleted") from error
    except BlobError as error:
        raise Unavailable("the object store cannot be reached") from error


def _after(cursor: tuple[str, ...] | None) -> int:
    if cursor is None:
        return 0
    if len(cursor) != 1:
        raise Invalid.at("cursor", "It was not made by this list")
    return _seq("cursor", cursor[0])


def _seq(field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _LARGEST_SEQ):
        raise Invalid.at(field, "It is no call_seq")
    return int(text)


ROUTES: Final = (
    list_call_events,
    get_call_transcript,
    list_call_tools,
    list_call_knowledge,
    list_call_turns,
    get_call_recording,
    follow_call,
)
