"""Replays: the caller of a recorded call is played from its recording to another version, and the two calls compared.

As with trials by phone, what is under way is in the rows alone, and any replica goes on with it.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_blobs import BlobError
from turncall_control.calls import recording
from turncall_control.calls import repository as calls
from turncall_control.calls.model import CallRow
from turncall_control.calls.recording import WAV_HEADER_BYTES, Recording
from turncall_control.dials import trying
from turncall_control.dials.trying import Trying
from turncall_control.plane import Plane
from turncall_control.suites import differing, drafting, hearing, repository, tape
from turncall_control.suites.lines import LineAway, LineRefused, TestLine
from turncall_control.suites.model import ReplayRow, ReplayState
from turncall_control.suites.tape import Key, NothingToReplay
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import DtmfReceived, EpochOpened, RecordingReady, ToolCalled, ToolReturned
from turncall_proto.ids import ReplayId
from turncall_proto.mock import ToolMock
from turncall_runtime import logs

AT_ONCE: Final = 20
"""Replays that one look takes up."""
LONGEST_S: Final = 1800
"""Of a recording that is replayed: all of it is in memory while it is cut."""
READY_WITHIN: Final = timedelta(seconds=60)
"""How long the line and the store of recordings are asked again while they are away."""
_BYTES_PER_S: Final = tape.RATE_HZ * recording.BYTES_PER_FRAME

log = logs.logger(__name__)


class NotReplayable(Exception):
    """The call cannot be had again. The message says why."""


def tape_of(call: CallRow, ready: list[RecordingReady]) -> Recording:
    """The recording that a call can be replayed from. Raises `NotReplayable`."""
    if call.settled_at is None:
        raise NotReplayable("The call is not over yet, or its last facts are on their way")
    if call.channel != "phone":
        raise NotReplayable("Only calls by phone are replayed")
    try:
        whole = None if call.recording_deleted_at is not None else recording.assembled(ready)
    except recording.MixedRates as error:
        raise NotReplayable(str(error)) from error
    if whole is None:
        raise NotReplayable("The call has no recording")
    if whole.rate_hz != tape.RATE_HZ:
        raise NotReplayable(f"It was recorded at {whole.rate_hz} Hz, not at {tape.RATE_HZ}")
    if whole.audio_bytes > LONGEST_S * _BYTES_PER_S:
        raise NotReplayable(f"Its recording is longer than {LONGEST_S} s")
    return whole


class Replaying:
    """One replica's share of the replays."""

    def __init__(self, plane: Plane, line: TestLine | None) -> None:
        self._plane = plane
        self._line = line

    async def attend(self) -> None:
        """Has calls placed for replays that were asked for, and compares those that are over."""
        for replay in await self._asked():
            await self._call(replay)
        for replay_id in await self._over():
            await self._compare(replay_id)

    async def _asked(self) -> list[ReplayRow]:
        async with self._plane.database.system() as session:
            found = await session.scalars(
                select(ReplayRow)
                .where(ReplayRow.state == ReplayState.RUNNING, ReplayRow.phone_call_id.is_(None))
                .order_by(ReplayRow.id)
                .limit(AT_ONCE)
            )
            return list(found)

    async def _call(self, asked: ReplayRow) -> None:
        """The line is told first, as for a trial."""
        number = trying.test_number(ids.parsed(ids.CALL, asked.call_id).int)
        try:
            wanted = await self._prepared(asked, number)
        except (NotReplayable, NothingToReplay, LineRefused) as error:
            await self._give_up(asked.id, str(error))
            return
        except (LineAway, BlobError) as error:
            log.warning("replay.waits", replay_id=asked.id, error=str(error))
            if asked.created_at < datetime.now(UTC) - READY_WITHIN:
                await self._give_up(asked.id, "The test line or the recording could not be reached")
            return
        async with self._plane.database.system() as session, session.begin():
            replay = await _locked(session, asked.id)
            if replay is not None and replay.phone_call_id is None:
                replay.phone_call_id = await trying.dial(session, replay.project_id, wanted)

    async def _prepared(self, asked: ReplayRow, number: str) -> Trying:
        """The call to be placed, once the line knows what its caller does. Raises as its parts do."""
        if self._line is None:
            raise LineRefused("This installation has no test line any more")
        async with self._plane.database.system() as session:
            call = await calls.get(session, asked.project_id, asked.call_id)
            ready = await calls.facts_of(session, call.project_id, call.id, RecordingReady)
            keys = _keys(
                await calls.facts_of(session, call.project_id, call.id, DtmfReceived),
                await calls.facts_of(session, call.project_id, call.id, EpochOpened),
                ready,
            )
            called = await calls.facts_of(session, call.project_id, call.id, ToolCalled)
            returned = await calls.facts_of(session, call.project_id, call.id, ToolReturned)
        sound = await self._sound(asked, tape_of(call, ready))
        hangs_up = call.ended_reason is EndedReason.CUSTOMER_ENDED_CALL
        await self._line.expect(number, await asyncio.to_thread(tape.acts, sound, keys, hangs_up=hangs_up))
        return Trying(
            from_number=asked.from_number,
            to_number=number,
            account=asked.account,
            agent_id=asked.agent_id,
            version_id=asked.version_id,
            agent=_on_our_call(asked.agent, call),
            mocks=answers(asked.agent, called, returned),
            variables=call.variables,
            knowledge_context=call.knowledge_context,
        )

    async def _sound(self, asked: ReplayRow, whole: Recording) -> bytes:
        async with self._plane.shelves.of(asked.project_id) as store:
            pieces = [piece async for piece in recording.stream(store, whole, WAV_HEADER_BYTES, whole.size_bytes)]
        return b"".join(pieces)

    async def _give_up(self, replay_id: ReplayId, why: str) -> None:
        async with self._plane.database.system() as session, session.begin():
            replay = await _locked(session, replay_id)
            if replay is not None:
                _end(replay, ReplayState.FAILED, why)

    async def _over(self) -> list[ReplayId]:
        """Replays whose call is settled, or gone."""
        async with self._plane.database.system() as session:
            found = await session.scalars(
                select(ReplayRow.id)
                .outerjoin(CallRow, CallRow.id == ReplayRow.phone_call_id)
                .where(
                    ReplayRow.state == ReplayState.RUNNING,
                    ReplayRow.phone_call_id.is_not(None),
                    CallRow.id.is_(None) | CallRow.settled_at.is_not(None),
                )
                .order_by(ReplayRow.id)
                .limit(AT_ONCE)
            )
            return list(found)

    async def _compare(self, replay_id: ReplayId) -> None:
        async with self._plane.database.system() as session, session.begin():
            replay = await _locked(session, replay_id)
            if replay is None:
                return
            before, after = await session.get(CallRow, replay.call_id), await session.get(CallRow, replay.phone_call_id)
            if before is None or after is None:
                _end(replay, ReplayState.FAILED, "One of the two calls was deleted")
            elif after.status is not CallState.COMPLETED:
                _end(replay, ReplayState.FAILED, f"The call was not had: {after.status}, {after.ended_reason}")
            else:
                talks = [
                    hearing.heard(await repository.facts(session, call.id), call.ended_reason or EndedReason.UNKNOWN)
                    for call in (before, after)
                ]
                replay.difference = differing.difference(*talks)
                _end(replay, ReplayState.COMPLETED, "")


def answers(agent: AgentSpec, called: list[ToolCalled], returned: list[ToolReturned]) -> tuple[ToolMock, ...]:
    """The record's answers to the same uses of tools, and to no others; a tool of an MCP server is offered by its name
    alone, since its server is not asked."""
    own = {tool.name for tool in agent.tools}
    return tuple(
        replace(mock, is_exact=True, parameters=None if mock.tool in own else {"type": "object"})
        for mock in drafting.mocked(called, returned)
    )


def _on_our_call(agent: AgentSpec, call: CallRow) -> AgentSpec:
    """The agent that is replayed to the caller of ``call``: one who called us is no machine that we called."""
    return replace(agent, voicemail=None) if call.direction == "inbound" else agent


def _keys(pressed: list[DtmfReceived], opened: list[EpochOpened], ready: list[RecordingReady]) -> list[Key]:
    """The keys of a call on the time line of its recording, in which its epochs follow each other."""
    lasted = {fact.of_epoch or fact.epoch: fact.duration_ms for fact in ready}
    began = {fact.epoch: fact.at for fact in opened}
    return [
        Key(
            at_ms=sum(lasted_ms for epoch, lasted_ms in lasted.items() if epoch < fact.epoch)
            + max(0, round((fact.at - began[fact.epoch]) / timedelta(milliseconds=1))),
            digit=fact.digit,
        )
        for fact in pressed
        if fact.epoch in began
    ]


async def _locked(session: AsyncSession, replay_id: ReplayId) -> ReplayRow | None:
    """The replay, for this transaction alone; None when it is over, or erased with its call."""
    statement = select(ReplayRow).where(ReplayRow.id == replay_id, ReplayRow.state == ReplayState.RUNNING)
    return await session.scalar(statement.with_for_update())


def _end(replay: ReplayRow, state: ReplayState, detail: str) -> None:
    replay.state, replay.detail, replay.ended_at = state, detail, datetime.now(UTC)
