"""/v1/parked-messages: what no consumer could take; put back into its stream once the cause is mended, or dropped."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from turncall_bus.bus import Bus, BusError
from turncall_control.auth import IN_PLATFORM, Permission, needs
from turncall_control.errors import Unavailable
from turncall_control.parked import messages
from turncall_control.parked.messages import READ_AT_ONCE, Found
from turncall_control.parked.schemas import ParkedChosen, ParkedDone, ParkedSeen, ParkedView
from turncall_control.parked.watch import watch_streams
from turncall_control.plane import Plane, Slice

_OPT: Final = needs(Permission.PLATFORM, IN_PLATFORM, fails=[Unavailable])

After = Annotated[int, QueryParameter(ge=0, le=2**62, description="Only messages behind this one.")]
Limit = Annotated[int, QueryParameter(ge=1, le=READ_AT_ONCE, description="Items on a page.")]


@get("/v1/parked-messages", tags=["parked messages"], opt=_OPT)
async def list_parked_messages(plane: NamedDependency[Plane], after: After = 0, limit: Limit = 50) -> ParkedSeen:
    """Messages that failed again and again while others went through, the oldest first; their contents stay shut."""
    async with _asked():
        found = await messages.read(plane.bus, after=after, limit=limit)
    is_last = len(found) < limit
    return ParkedSeen(items=tuple(map(_view, found)), next_after=None if is_last else found[-1].id)


@post("/v1/parked-messages/replay", status_code=200, tags=["parked messages"], opt=_OPT)
async def replay_parked_messages(plane: NamedDependency[Plane], data: JSONBody[ParkedChosen]) -> ParkedDone:
    """Puts messages back into their streams, where their consumers try them again; what fails is parked anew."""
    return await _done(plane.bus, data.ids, messages.replay)


@post("/v1/parked-messages/drop", status_code=200, tags=["parked messages"], opt=_OPT)
async def drop_parked_messages(plane: NamedDependency[Plane], data: JSONBody[ParkedChosen]) -> ParkedDone:
    """Forgets messages for good. What they said is lost."""
    return await _done(plane.bus, data.ids, messages.drop)


async def _done(bus: Bus, ids: Sequence[int], act: Callable[[Bus, int], Awaitable[bool]]) -> ParkedDone:
    """One after another; what was done before a failure is done, and asking again is safe."""
    async with _asked():
        was_there = {message_id: await act(bus, message_id) for message_id in ids}
    done = tuple(message_id for message_id, there in was_there.items() if there)
    return ParkedDone(done=done, gone=tuple(message_id for message_id, there in was_there.items() if not there))


@asynccontextmanager
async def _asked() -> AsyncIterator[None]:
    try:
        yield
    except BusError as error:
        raise Unavailable(f"the bus did not do it: {error}") from error


def _view(found: Found) -> ParkedView:
    parked = found.parked
    return ParkedView(
        id=found.id,
        stream=parked.stream,
        consumer=parked.durable,
        subject=parked.subject,
        error=parked.error,
        size_bytes=len(parked.data),
        parked_at=parked.parked_at,
    )


PARKED: Final = Slice(
    name="parked",
    routes=(list_parked_messages, replay_parked_messages, drop_parked_messages),
    tasks=(watch_streams,),
)
