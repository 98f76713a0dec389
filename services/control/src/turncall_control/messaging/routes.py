"""/v1/messages: writing to a contact's phone; and the work of taking in what contacts write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, needs
from turncall_control.chat.schemas import MessageView
from turncall_control.chat.views import message_view
from turncall_control.errors import Unavailable
from turncall_control.messaging import arrivals, outbound
from turncall_control.messaging.links import Links
from turncall_control.messaging.outbound import ChannelOff, NotAllowed, OptedOut, WindowShut
from turncall_control.messaging.schemas import OutboundMessageNew
from turncall_control.plane import Plane, Slice
from turncall_proto import subjects

AT_ONCE: Final = 8
"""Arrivals that one process deals with side by side; each may wait three seconds for a user's server."""
LEASE_S: Final = 6.0


@post(
    "/v1/messages",
    status_code=201,
    tags=["sessions"],
    opt=needs(
        Permission.SESSIONS_WRITE,
        IN_PROJECT,
        fails=[NotAllowed, OptedOut, WindowShut, ChannelOff, Unavailable],
        idempotent=True,
    ),
)
async def create_message(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[OutboundMessageNew],
) -> MessageView:
    """Writes to a contact's phone. The answer comes before the carrier was asked: how far the message has come stands
    in its session's messages.

    It is asked for once: if the carrier's answer is lost, the message is looked for at the carrier.
    """
    rules = (await plane.settings.of(caller.project_id)).outbound
    return message_view(await outbound.write(session, caller.project_id, rules, plane.accounts.installation, data))


@asynccontextmanager
async def take_arrivals(plane: Plane) -> AsyncIterator[None]:
    """Takes what contacts wrote out of the stream."""
    working = await plane.bus.work(
        subjects.TC_JOBS.name,
        "arrivals",
        partial(arrivals.taken, plane),
        subject=subjects.ARRIVALS,
        at_once=AT_ONCE,
        lease_s=LEASE_S,
    )
    try:
        yield
    finally:
        await working.close()


@asynccontextmanager
async def send_links(plane: Plane) -> AsyncIterator[None]:
    """Takes the wishes of agents to send a link."""
    serving = await plane.bus.serve(subjects.act("link"), Links(plane).answer, queue=subjects.CONTROL_QUEUE)
    try:
        yield
    finally:
        await serving.close()


MESSAGING: Final = Slice(name="messaging", routes=(create_message,), tasks=(take_arrivals, send_links))
