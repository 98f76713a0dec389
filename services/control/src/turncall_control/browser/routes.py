"""/v1/webrtc: calls from web pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from litestar import Request, Response, get, patch, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, needs
from turncall_control.browser import choosing, connecting, pages, renewing, tokens
from turncall_control.browser.connecting import Answered, NobodyAnswers, NobodyFree
from turncall_control.browser.schemas import (
    CallWanted,
    CandidatesAsked,
    CandidatesTaken,
    ClientTokenMade,
    ClientTokenNew,
    ConnectAsked,
    Connected,
    IceServers,
)
from turncall_control.browser.tokens import OriginRefused, TokenUsed
from turncall_control.calls import exchange, ice, placement
from turncall_control.calls.commanding import CallOver
from turncall_control.calls.concurrency import TooManyCalls
from turncall_control.calls.exchange import WorkerGone
from turncall_control.db.engine import in_project
from turncall_control.duty import repeated
from turncall_control.errors import Invalid, NotFound
from turncall_control.plane import Plane, Slice
from turncall_control.routing import Target
from turncall_proto import ids
from turncall_proto.ids import CallId


@post("/v1/webrtc/tokens", status_code=201, tags=["calls"], opt=needs(Permission.CALLS_WRITE, IN_PROJECT))
async def create_client_token(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[ClientTokenNew],
) -> ClientTokenMade:
    """Makes a token with which a page calls an agent once, so that no key lies in a page.

    It opens one call, soon, from the pages that it names, and decides what the agent is told. The same page goes on
    with the call by it.
    """
    await choosing.check(plane, session, caller.project_id, data)
    return await tokens.make(
        session, caller, plane.config.key_pepper, data, lambda call_id: ice.servers(plane.config, call_id)
    )


@post(
    "/v1/webrtc/connect",
    status_code=200,
    tags=["calls"],
    opt=needs(
        Permission.CALLS_CONNECT,
        IN_PROJECT,
        fails=[OriginRefused, TokenUsed, CallOver, NotFound, TooManyCalls, NobodyAnswers, NobodyFree, WorkerGone],
    ),
)
async def connect_browser(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    data: JSONBody[ConnectAsked],
) -> Response[Connected]:
    """Calls an agent from a web page, or goes on with such a call: an offer of sound is answered.

    Body and answer are those of Pipecat's SmallWebRTC clients. With the `pc_id` of a call whose worker was lost,
    another worker goes on with it. ICE is not restarted: a page whose network has changed makes its connection anew,
    with `restart_pc`. With a client token `requestData` is not looked at: the token says who is called.
    """
    await _check_origin(request, plane, caller)
    if not exchange.has_sound(data.sdp):
        raise Invalid.at("sdp", "The offer holds no sound: it needs an audio line")
    answered = await _answered(plane, caller, data)
    announcing = None
    if answered.plan is not None:
        announcing = BackgroundTask(placement.announce, plane.bus, answered.plan)
    return Response(Connected(sdp=answered.sdp, pc_id=answered.call_id), background=announcing)


async def _answered(plane: Plane, caller: Caller, data: ConnectAsked) -> Answered:
    visit = caller.visit
    if visit is not None and data.pc_id not in (None, visit.call_id):
        raise NotFound
    goes_on = visit.call_id if visit is not None and visit.is_used else data.pc_id
    if goes_on is not None:
        # A page that lost the answer to its first offer has no pc_id, and a connection that nobody knows.
        is_new = data.restart_pc or data.pc_id is None
        return await renewing.renew(plane, caller.project_id, goes_on, data.sdp, is_new=is_new)
    wanted = data.request_data
    if visit is not None:
        wanted = CallWanted(
            agent_id=visit.agent_id,
            version_id=visit.version_id,
            routing=convert(visit.routing, Target | None),
            fallback_agent_id=visit.fallback_agent_id,
            variables=visit.variables,
            metadata=visit.metadata,
        )
    if wanted is None:
        raise Invalid.at("requestData", "Say who is called: agent_id, version_id or routing")
    if visit is None:
        async with in_project(plane.database, caller.project_id) as session:
            await choosing.check(plane, session, caller.project_id, wanted)
    return await connecting.connect(plane, caller.project_id, wanted, data.sdp, visit)


@patch(
    "/v1/webrtc/connect",
    tags=["calls"],
    opt=needs(
        Permission.CALLS_CONNECT, IN_PROJECT, fails=[OriginRefused, CallOver, NotFound, WorkerGone], audited=False
    ),
)
async def trickle_candidates(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    data: JSONBody[CandidatesAsked],
) -> CandidatesTaken:
    """Tells of addresses of the page that became known after its offer."""
    await _check_origin(request, plane, caller)
    if caller.visit is not None and caller.visit.call_id != data.pc_id:
        raise NotFound
    await renewing.tell(plane, caller.project_id, data.pc_id, data.candidates)
    return CandidatesTaken()


@get("/v1/webrtc/ice-servers", tags=["calls"], opt=needs(Permission.CALLS_CONNECT, IN_PROJECT, fails=[OriginRefused]))
async def get_ice_servers(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], caller: NamedDependency[Caller]
) -> IceServers:
    """What a page's connection is made with: the operator's STUN and TURN servers, with credentials that expire."""
    await _check_origin(request, plane, caller)
    call_id = caller.visit.call_id if caller.visit is not None else CallId(ids.mint(ids.CALL))
    return IceServers(ice_servers=ice.servers(plane.config, call_id))


async def _check_origin(request: Request[Any, Any, Any], plane: Plane, caller: Caller) -> None:
    """A page must come from where the token, or else the project, lets it; a key without a page comes from a server.

    A browser states no origin when a page asks its own server with GET.
    """
    origin = request.headers.get("origin")
    if origin is None and (caller.visit is None or request.method == "GET"):
        return
    allowed = caller.visit.origins if caller.visit is not None else ()
    tokens.check_origin(origin, allowed or (await plane.settings.of(caller.project_id)).browser.allowed_origins)


@asynccontextmanager
async def forget_tokens(plane: Plane) -> AsyncIterator[None]:
    """Deletes client tokens that open nothing any more."""
    async with repeated("client_tokens", lambda: tokens.sweep(plane.database.pool), tokens.SWEEP_EVERY_S):
        yield


BROWSER: Final = Slice(
    name="browser",
    routes=(
        create_client_token,
        connect_browser,
        trickle_candidates,
        get_ice_servers,
        pages.get_page,
        pages.get_page_asset,
    ),
    tasks=(forget_tokens,),
)
