"""Commands to the worker that holds a live call: put to it until it answers, under an id by which it does each once."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

from msgspec import json

from turncall_bus.bus import Away, NoAnswer, NobodyListens
from turncall_control.calls import repository
from turncall_control.carriers import browser
from turncall_control.db import act
from turncall_control.db.engine import in_project
from turncall_control.errors import Conflict, ControlError
from turncall_control.plane import Plane
from turncall_proto import subjects
from turncall_proto.call import FINAL, CallState
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.command import AnyCommand, Command, CommandReply, Transfer
from turncall_proto.ids import CallId, ProjectId

ANSWER_WITHIN_S: Final = 2.0
"""How long a worker has to carry a command out, one that takes the call over from another included."""
ASK_AGAIN_S: Final = 0.1

_NOT_YET: Final = frozenset({CallState.INITIATED, CallState.RINGING})


class CallOver(Conflict):
    """There is nobody left to tell anything."""

    name, title = "call-over", "The call is over"


class NotLive(Conflict):
    """No agent has the call at this moment: it rings, or a person has it."""

    name, title = "call-not-live", "No agent is on the call"


class CommandRefused(Conflict):
    """The worker that holds the call did not do it; the detail is its own."""

    name, title = "command-refused", "The agent cannot do that at this moment"


class WorkerSilent(ControlError):
    """No worker confirmed the command in time. It may still have been done: the same Idempotency-Key asks again."""

    status, name, title = 504, "worker-silent", "The call's worker did not answer in time"


async def command(
    plane: Plane,
    project_id: ProjectId,
    call_id: CallId,
    kind: type[AnyCommand],
    *,
    within_s: float = ANSWER_WITHIN_S,
    **what: Any,
) -> str:
    """Has the call's worker carry a command out; its id. ``what`` are the fields of ``kind``.

    Raises `NotFound`, `CallOver`, `NotLive`, `CommandRefused`, `WorkerSilent`.
    """
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, call_id)
    if row.status in FINAL:
        raise CallOver
    if kind is Transfer and row.provider == browser.PROVIDER:
        raise CommandRefused("a call from a page has no carrier that could connect a person: hand it off to an agent")
    given = kind(
        command_id=_command_id(kind, call_id, what),
        call_id=call_id,
        deadline=datetime.now(UTC) + timedelta(seconds=within_s),
        **what,
    )
    reply = await asked(plane, given, is_awaited=row.status not in _NOT_YET)
    if reply is None and row.status is not CallState.IN_PROGRESS:
        raise NotLive
    if reply is None or reply.outcome == "late":
        raise WorkerSilent
    if reply.outcome == "refused":
        raise CommandRefused(reply.detail)
    return given.command_id


async def asked(plane: Plane, given: Command, *, is_awaited: bool = False) -> CommandReply | None:
    """What the call's worker says to the command; None when no worker answers by its deadline.

    ``is_awaited``: while nobody holds the call, as between two of its workers, whoever will is waited for.
    """
    while (left_s := (given.deadline - datetime.now(UTC)).total_seconds()) > 0:
        try:
            answer = await plane.bus.ask(subjects.command(given.call_id), encode(given), timeout_s=left_s)
            return decode(answer, CommandReply)
        except NobodyListens:
            if not is_awaited:
                return None
            await asyncio.sleep(ASK_AGAIN_S)
        except (Away, NoAnswer, MalformedMessage):
            return None
    return None


def _command_id(kind: type[Command], call_id: CallId, what: dict[str, Any]) -> str:
    """One of its own for each request, and the same one for requests that carry the same Idempotency-Key."""
    request = act.current()
    if request is None or request.claim is None:
        return uuid4().hex
    claim = request.claim
    about = (claim.project_id, claim.key, call_id, str(kind.__struct_config__.tag), what)
    return sha256(json.encode(about, order="deterministic")).hexdigest()[:32]
