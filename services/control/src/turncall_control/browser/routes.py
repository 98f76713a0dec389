"""/v1/webrtc: calls from web pages."""

from typing import Final

from litestar import Response, patch, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import JSONBody

from turncall_control.auth import IN_PROJECT, Caller, Permission, needs
from turncall_control.browser import connecting, exchange, renewing
from turncall_control.browser.connecting import NobodyFree
from turncall_control.browser.exchange import WorkerGone
from turncall_control.browser.schemas import CandidatesAsked, CandidatesTaken, ConnectAsked, Connected
from turncall_control.calls import placement
from turncall_control.calls.commanding import CallOver
from turncall_control.calls.concurrency import TooManyCalls
from turncall_control.errors import Invalid, NotFound
from turncall_control.plane import Plane, Slice


@post(
    "/v1/webrtc/connect",
    status_code=200,
    tags=["calls"],
    opt=needs(Permission.CALLS_WRITE, IN_PROJECT, fails=[CallOver, NotFound, TooManyCalls, NobodyFree, WorkerGone]),
)
async def connect_browser(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[ConnectAsked]
) -> Response[Connected]:
    """Calls an agent from a web page, or goes on with such a call: an offer of sound is answered.

    Body and answer are those of Pipecat's SmallWebRTC clients. With the `pc_id` of a call whose worker was lost,
    another worker goes on with it.
    """
    if not exchange.has_sound(data.sdp):
        raise Invalid.at("sdp", "The offer holds no sound: it needs an audio line")
    if data.pc_id is not None:
        answered = await renewing.renew(plane, caller.project_id, data.pc_id, data.sdp, (), is_new=data.restart_pc)
    elif data.request_data is None:
        raise Invalid.at("requestData", "Say who is called: agent_id or version_id")
    else:
        answered = await connecting.connect(plane, caller.project_id, data.request_data, data.sdp, ())
    announcing = None
    if answered.plan is not None:
        announcing = BackgroundTask(placement.announce, plane.bus, answered.plan)
    return Response(Connected(sdp=answered.sdp, pc_id=answered.call_id), background=announcing)


@patch(
    "/v1/webrtc/connect",
    tags=["calls"],
    opt=needs(Permission.CALLS_WRITE, IN_PROJECT, fails=[CallOver, NotFound, WorkerGone], audited=False),
)
async def trickle_candidates(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[CandidatesAsked]
) -> CandidatesTaken:
    """Tells of addresses of the page that became known after its offer."""
    await renewing.tell(plane, caller.project_id, data.pc_id, data.candidates)
    return CandidatesTaken()


BROWSER: Final = Slice(name="browser", routes=(connect_browser, trickle_candidates))
