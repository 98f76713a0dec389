"""What a page sends and gets when it calls an agent: the bodies of Pipecat's SmallWebRTC clients."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from turncall_control.dials.schemas import VersionRef
from turncall_control.http.fields import Moment
from turncall_control.routing import AgentRef, Target
from turncall_control.settings import Origin
from turncall_proto.ids import CallId
from turncall_proto.variables import Metadata, Variables
from turncall_proto.webrtc import MAX_SDP, IceCandidate, IceServer

CallRef = Annotated[
    CallId, Meta(pattern=r"^call_[0-9a-f]{32}$(?!\n)", description="The connection, which is the call's id.")
]


class CallWanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the page calls: ``agent_id``, ``version_id`` or ``routing`` says who is to speak."""

    agent_id: Annotated[AgentRef | None, Meta(description="Speaks in its published version.")] = None
    version_id: Annotated[
        VersionRef | None, Meta(description="A version by name: a published one, or a draft that is to be tried.")
    ] = None
    routing: Annotated[Target | None, Meta(description="Who answers, as on a number: variants, or your server.")] = None
    fallback_agent_id: Annotated[AgentRef | None, Meta(description="Answers when the routing gives nobody.")] = None
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)


class ClientTokenNew(CallWanted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that a page may make once: ``agent_id``, ``version_id`` or ``routing`` says who is to speak."""

    origins: Annotated[
        tuple[Origin, ...], Meta(max_length=20, description="Where the page may come from; empty: as the project says.")
    ] = ()
    expires_in_s: Annotated[int, Meta(ge=10, le=3600, description="How long the page has to begin its call.")] = 60
    max_duration_s: Annotated[
        Annotated[int, Meta(ge=10, le=14_400)] | None,
        Meta(description="The call ends after this long, or sooner, if its agent says so."),
    ] = None


class ClientTokenMade(Struct, frozen=True, kw_only=True):
    """A token, shown once. ``call_id`` is the call that it opens."""

    token: Annotated[str, Meta(description="For the page, to send as `Authorization: Bearer`.")]
    call_id: CallId
    expires_at: Moment
    ice_servers: tuple[IceServer, ...]


class IceServers(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a page's connection is made with, as an `RTCConfiguration`."""

    ice_servers: tuple[IceServer, ...]


class ConnectAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An offer of sound: of a new call without ``pc_id``, of a call that goes on with it.

    ``restart_pc`` says that the page has made its connection anew.
    """

    sdp: Annotated[str, Meta(min_length=1, max_length=MAX_SDP, description="The page's offer, RFC 8866.")]
    type: Literal["offer"]
    pc_id: CallRef | None = None
    restart_pc: bool = False
    request_data: Annotated[CallWanted | None, Meta(description="Who is called; with a new call only.")] = field(
        default=None, name="requestData"
    )


class Connected(Struct, frozen=True, kw_only=True):
    """The answer to an offer."""

    sdp: str
    type: Literal["answer"] = "answer"
    pc_id: CallRef


class CandidatesAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses of the page that became known after its offer."""

    pc_id: CallRef
    candidates: Annotated[tuple[IceCandidate, ...], Meta(max_length=64)]


class CandidatesTaken(Struct, frozen=True, kw_only=True):
    """They were told to the call's worker."""

    status: Literal["success"] = "success"
