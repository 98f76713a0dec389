"""/v1/calls/{id}/…: what a person tells the agent of a live call to do, answered when its pipeline has done it."""

from typing import Any, Final

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.calls import commanding, transfers
from turncall_control.calls.commanding import CallOver, CommandRefused, NotLive, WorkerSilent
from turncall_control.calls.schemas import (
    CommandTaken,
    DtmfAsked,
    HandoffAsked,
    InjectionAsked,
    LineAsked,
    TransferWanted,
)
from turncall_control.errors import Invalid
from turncall_control.plane import Plane
from turncall_proto import command, ids
from turncall_proto.ids import CallId

FAILS: Final = (CallOver, NotLive, CommandRefused, WorkerSilent)
"""What may keep any command from being carried out."""


def _opt() -> dict[str, Any]:
    return needs(Permission.CALLS_WRITE, in_path("call_id", ids.CALL), fails=FAILS, idempotent=True)


@post("/v1/calls/{call_id:str}/say", status_code=200, tags=["calls"], opt=_opt())
async def say(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str], data: JSONBody[LineAsked]
) -> CommandTaken:
    """Has the agent say this, behind what it is saying, also while it is muted."""
    return await _taken(plane, caller, call_id, command.Say, text=data.text)


@post("/v1/calls/{call_id:str}/inject", status_code=200, tags=["calls"], opt=_opt())
async def inject(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    data: JSONBody[InjectionAsked],
) -> CommandTaken:
    """Has the agent's model know this from here on, and speak about it at once if `is_answered`."""
    return await _taken(
        plane, caller, call_id, command.Inject, text=data.text, role=data.role, is_answered=data.is_answered
    )


@post("/v1/calls/{call_id:str}/mute", status_code=200, tags=["calls"], opt=_opt())
async def mute(plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str]) -> CommandTaken:
    """Silences the agent at once; it listens on. It says only what `say` has it say, until it is unmuted."""
    return await _taken(plane, caller, call_id, command.Mute)


@post("/v1/calls/{call_id:str}/unmute", status_code=200, tags=["calls"], opt=_opt())
async def unmute(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> CommandTaken:
    """Lets the agent speak again. What it was asked in the meantime is answered, once."""
    return await _taken(plane, caller, call_id, command.Unmute)


@post("/v1/calls/{call_id:str}/dtmf", status_code=200, tags=["calls"], opt=_opt())
async def send_dtmf(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str], data: JSONBody[DtmfAsked]
) -> CommandTaken:
    """Has the other side hear keys, behind what the agent is saying."""
    return await _taken(plane, caller, call_id, command.SendDtmf, digits=data.digits)


@post("/v1/calls/{call_id:str}/handoff", status_code=200, tags=["calls"], opt=_opt())
async def hand_off(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str], data: JSONBody[HandoffAsked]
) -> CommandTaken:
    """Gives the call to another agent of the project, with all that was said, once the agent has finished speaking."""
    return await _taken(plane, caller, call_id, command.HandOff, agent_id=data.agent_id, reason=data.reason)


@post("/v1/calls/{call_id:str}/recording/pause", status_code=200, tags=["calls"], opt=_opt())
async def pause_recording(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> CommandTaken:
    """Leaves what is said from here on out of the recording; silence takes its place, so that the times still fit."""
    return await _taken(plane, caller, call_id, command.PauseRecording)


@post("/v1/calls/{call_id:str}/recording/resume", status_code=200, tags=["calls"], opt=_opt())
async def resume_recording(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> CommandTaken:
    """Records again."""
    return await _taken(plane, caller, call_id, command.ResumeRecording)


@post("/v1/calls/{call_id:str}/transfer", status_code=200, tags=["calls"], opt=_opt())
async def transfer_call(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    data: JSONBody[TransferWanted],
) -> CommandTaken:
    """Connects the caller to a person, once the agent has finished speaking; back to the agent if nobody takes it."""
    if not transfers.is_allowed(await plane.settings.of(caller.project_id), data.to):
        raise Invalid.at("to", "The project does not allow that destination")
    order = command.TransferOrder(
        to=data.to, mode=data.mode, briefing=data.briefing, accept_key=data.accept_key, ring_s=data.ring_s
    )
    return await _taken(plane, caller, call_id, command.Transfer, order=order, message=data.message)


async def _taken(plane: Plane, caller: Caller, call_id: str, kind: Any, **what: Any) -> CommandTaken:
    return CommandTaken(command_id=await commanding.command(plane, caller.project_id, CallId(call_id), kind, **what))


ROUTES: Final = (say, inject, mute, unmute, send_dtmf, hand_off, transfer_call, pause_recording, resume_recording)
