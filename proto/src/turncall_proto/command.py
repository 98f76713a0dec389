"""Commands to a live call (control to its owner) and carrier acts that a worker asks of control.

Both are request and reply with an id: a repeat of the same id is answered alike and done once.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from turncall_proto.agent import Destination
from turncall_proto.call import CallStart, EndedReason
from turncall_proto.ids import AgentId, CallId, ProjectId, SessionId, WorkerId
from turncall_proto.marks import PERSONAL, Instant

KEYS_PATTERN: Final = "^[0-9A-D*#wW]{1,32}$"
"""Keys of a telephone in their order; ``w`` waits half a second, ``W`` a whole one. Python lets a line end follow."""

Line = Annotated[str, Meta(min_length=1, max_length=2000), PERSONAL]
Injection = Annotated[str, Meta(min_length=1, max_length=8000), PERSONAL]
Keys = Annotated[str, Meta(pattern=rf"{KEYS_PATTERN}(?!\n)"), PERSONAL]


class Command(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every command carries. Past ``deadline`` (aware UTC) the receiver drops it."""

    command_id: str
    call_id: CallId
    deadline: Instant


class EndCall(Command, frozen=True, kw_only=True, tag="end"):
    """End the call; speech already under way is cut."""

    reason: EndedReason = EndedReason.API_ENDED_CALL


class Say(Command, frozen=True, kw_only=True, tag="say"):
    """Have the agent say this, behind what it is saying, also while it is muted. The model remembers it."""

    text: Line


class Inject(Command, frozen=True, kw_only=True, tag="inject"):
    """Have the model know this from here on, as an instruction or as if the caller had said it.

    ``is_answered``: it speaks about it at once, as soon as nobody else speaks.
    """

    text: Injection
    role: Literal["system", "user"] = "system"
    is_answered: bool = False


class Mute(Command, frozen=True, kw_only=True, tag="mute"):
    """The agent falls silent at once and listens on; its model is not asked until it is unmuted."""


class Unmute(Command, frozen=True, kw_only=True, tag="unmute"):
    """The agent may speak again. What it was asked in the meantime is answered, once."""


class PauseRecording(Command, frozen=True, kw_only=True, tag="recording_pause"):
    """Leave what is said from here on out of the recording: silence takes its place."""


class ResumeRecording(Command, frozen=True, kw_only=True, tag="recording_resume"):
    """Record again."""


class SendDtmf(Command, frozen=True, kw_only=True, tag="dtmf"):
    """Have the other side hear these keys, behind what the agent is saying."""

    digits: Keys


class HandOff(Command, frozen=True, kw_only=True, tag="handoff"):
    """Give the call to another agent of the project, once what the agent is saying was heard."""

    agent_id: AgentId
    reason: Annotated[str, Meta(max_length=1000), PERSONAL] = ""


class TransferOrder(Struct, frozen=True, kw_only=True):
    """To whom a caller is to be connected, and how; see the agent's tool ``transfer_call``."""

    to: Annotated[Destination, PERSONAL]
    mode: Literal["cold", "warm"] = "cold"
    briefing: Annotated[str, Meta(max_length=4000), PERSONAL] = ""
    accept_key: Annotated[str, Meta(pattern=r"^[0-9*#]?$(?!\n)")] = ""
    ring_s: Annotated[int, Meta(ge=5, le=120)] = 25


class Transfer(Command, frozen=True, kw_only=True, tag="transfer"):
    """Connect the caller to a person, once what the agent is saying, and ``message`` behind it, was heard."""

    order: TransferOrder
    message: Annotated[str, Meta(max_length=2000), PERSONAL] = ""


AnyCommand = EndCall | Say | Inject | Mute | Unmute | SendDtmf | HandOff | Transfer | PauseRecording | ResumeRecording


class DrainWorker(Struct, frozen=True, kw_only=True, tag_field="type", tag="drain"):
    """A worker is to finish and end, as at SIGTERM. Past ``deadline`` (aware UTC) it drops this; a repeat is done.

    ``handover_after_s`` is how long its calls may end by themselves before they are handed over in a quiet moment; the
    worker's own setting when it is null.
    """

    worker: WorkerId
    deadline: Instant
    handover_after_s: Annotated[float, Meta(ge=0, le=14_400)] | None = None


class CommandReply(Struct, frozen=True, kw_only=True):
    """What the owner of the call did with a command."""

    outcome: Literal["done", "refused", "late"]
    detail: str = ""


class HangUpAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="hang_up"):
    """A worker asks control to end the call at the carrier. Control stores the intent before it replies."""

    act_id: str
    call_id: CallId
    epoch: int
    reason: EndedReason
    deadline: Instant


class ActReply(Struct, frozen=True, kw_only=True):
    """Control's answer to an act: taken on (and stored), or why not."""

    is_taken: bool
    detail: str = ""


class HandoffAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="handoff"):
    """The worker of an epoch asks for the plan of the next one, with another agent, on the same stream.

    Control makes the next epoch this worker's before it replies; a repeat under the same id gets the same plan.
    """

    act_id: str
    call_id: CallId
    project_id: ProjectId
    epoch: int
    worker: WorkerId
    agent_id: AgentId
    reason: Annotated[str, Meta(max_length=1000), PERSONAL] = ""
    deadline: Instant


class HandoffReply(Struct, frozen=True, kw_only=True):
    """The plan with which the worker goes on, or why the call stays with the agent that has it."""

    plan: CallStart | None
    detail: str = ""


class TransferAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="transfer"):
    """A worker asks control to connect the caller of an epoch to a person. Control stores it before it replies.

    ``tool`` is the tool of the agent by which the model wished it; empty when a person told the call to.
    """

    act_id: str
    call_id: CallId
    project_id: ProjectId
    epoch: int
    order: TransferOrder
    tool: str = ""
    deadline: Instant


class LinkAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="link"):
    """A worker asks control to send the contact of a call, or of a session, an SMS with a link to the session.

    Control stores it before it replies; a repeat under the same id sends nothing more.
    """

    act_id: str
    call_id: CallId | SessionId
    project_id: ProjectId
    url: str
    text: Annotated[str, Meta(max_length=500), PERSONAL] = ""
    deadline: Instant


class OptOutAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="opt_out"):
    """A worker tells control that the person it speaks or writes with does not want to be called any more.

    Whose number that is, control knows: a worker could be talked into another one. A repeat changes nothing.
    """

    act_id: str
    call_id: CallId | SessionId
    project_id: ProjectId
    deadline: Instant


class SettlementAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="settlement"):
    """A worker asks which of its spooled epochs are safe in Postgres, so that it may delete them."""

    epochs: tuple["SpooledEpoch", ...]


class SpooledEpoch(Struct, frozen=True, kw_only=True):
    """What a worker's disk still holds of one epoch."""

    call_id: CallId
    epoch: int
    last_seq: int


class SettlementAnswered(Struct, frozen=True, kw_only=True):
    """``settled`` may be deleted; of ``missing`` the named facts must be published again."""

    settled: tuple[SpooledEpoch, ...] = ()
    missing: tuple["MissingFacts", ...] = ()


class MissingFacts(Struct, frozen=True, kw_only=True):
    """Numbers that control has not seen of one epoch."""

    call_id: CallId
    epoch: int
    seqs: tuple[int, ...]
