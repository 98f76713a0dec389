"""/v1/calls/outbound: having an agent call somebody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, needs
from turncall_control.calls.views import call_view
from turncall_control.dials import calling, intents, resolving
from turncall_control.dials.dialler import Dialler
from turncall_control.dials.queue import CLAIM_EVERY_S
from turncall_control.dials.schemas import OutboundCall, OutboundCallNew
from turncall_control.duty import repeated
from turncall_control.plane import Plane, Slice


@post(
    "/v1/calls/outbound",
    status_code=201,
    tags=["calls"],
    opt=needs(
        Permission.CALLS_WRITE,
        IN_PROJECT,
        fails=[intents.NotAllowed, intents.OnDoNotCallList, intents.QueueFull, calling.NoPermission],
        idempotent=True,
    ),
)
async def create_outbound_call(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[OutboundCallNew],
) -> OutboundCall:
    """Has an agent call somebody: as soon as it is due, a worker has room and the carrier's pace allows it.

    The call is `initiated` until then, and is cancelled like any other is ended. It is dialled once: if the carrier's
    answer is lost, it is looked for at the carrier, and never asked for again. A person who is to be called over
    WhatsApp must have let the number do so; WhatsApp is asked before the call is taken on.
    """
    if data.channel == "whatsapp":
        await calling.require_permission(plane, caller.project_id, data.from_, data.to)
    rules = (await plane.settings.of(caller.project_id)).outbound
    call, dial = await intents.take_on(session, caller.project_id, rules, plane.accounts.installation, data)
    return OutboundCall(call=call_view(call), due_at=dial.due_at)


@asynccontextmanager
async def dial_calls(plane: Plane) -> AsyncIterator[None]:
    """Asks carriers for calls that are due."""
    dialler = Dialler(plane)
    async with dialler.questions.asking(), repeated("dialling", dialler.attend, CLAIM_EVERY_S):
        yield


@asynccontextmanager
async def resolve_dials(plane: Plane) -> AsyncIterator[None]:
    """Finds out what became of calls that were asked for."""
    async with repeated("resolving_dials", resolving.Resolver(plane).attend, resolving.SWEEP_EVERY_S):
        yield


DIALS: Final = Slice(name="dials", routes=(create_outbound_call,), tasks=(dial_calls, resolve_dials))
