"""One run of one scenario on a scene: calls are dialled, something is struck, and everything is noted."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from turncall.client import ApiError, Unreachable
from turncall.client.shapes import CallView, StoredFact
from turncall.demo.record import every_fact, measured
from turncall.process import Process
from turncall_phone.calls import Call
from turncall_proto.events import PUBLIC_TAGS, ToolCalled
from turncall_proto.ids import CallId, ProjectId, inbound_call_id
from turncall_testkit.chaos.caller import Caller, Told
from turncall_testkit.chaos.history import CallHistory, History, Notice, Strike
from turncall_testkit.chaos.scene import ACCOUNT, Scene
from turncall_testkit.chaos.tenant import Tenant

PROVIDER: Final = "twilio"
APART_S: Final = 0.5
LASTS_S: Final = 240.0
STORED_WITHIN_S: Final = 90.0
"""A record is given up after a minute, and a recording tried again each minute."""
WATCH_EVERY_S: Final = 0.5
ANSWERED_WITHIN_S: Final = 90.0
BOOK_TOOL: Final = "book_appointment"


class Drill:
    """The calls of a run and what is done to them. ``random`` is seeded: it chooses victims and moments. ``lasts_s`` is
    for how long a scenario that can take any time goes on."""

    def __init__(
        self, scene: Scene, scenario: str, *, calls: int, seed: int, is_short: bool, minutes: float = 1.0
    ) -> None:
        self.scene = scene
        self.scenario = scenario
        self.count = calls
        self.seed = seed
        self.is_short = is_short
        self.lasts_s = 60 * minutes
        self.random = random.Random(seed)
        self.callers: list[Caller] = []
        self._talks: dict[CallId, asyncio.Task[Told]] = {}
        self._tenants: dict[CallId, Tenant] = {}
        self._listed: dict[CallId, set[ProjectId]] = {}
        self._statuses: dict[CallId, list[str]] = {}
        self._strikes: list[Strike] = []
        self._told_keys = frozenset(scene.desk.booked)

    @property
    def live(self) -> list[Caller]:
        """Callers whose call is not over."""
        return [caller for caller in self.callers if not caller.call.is_over]

    async def dial(self, count: int | None = None) -> list[Caller]:
        """So many more callers (the run's number, unless told), one after another; returns while the last one rings."""
        made = []
        for _ in range(count or self.count):
            tenant = self.scene.next_tenant()
            call = await self.scene.carrier.dial(to=tenant.number.e164, from_=self.scene.next_caller(), script=())
            made.append(self._seat(call, tenant))
            await asyncio.sleep(APART_S)
        return made

    def _seat(self, call: Call, tenant: Tenant) -> Caller:
        call_id = inbound_call_id(PROVIDER, ACCOUNT.sid, call.sid)
        caller = Caller(call, call_id, self.scene.testimony, asks_hours=not self.is_short)
        self.callers.append(caller)
        self._tenants[call_id] = tenant
        self._talks[call_id] = asyncio.create_task(_talk(caller), name=f"caller of {call_id}")
        return caller

    async def all_have_spoken(self) -> None:
        """Waits until every caller has said something; raises TimeoutError."""
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await asyncio.gather(*(caller.has_spoken.wait() for caller in self.callers))

    async def a_moment(self, least_s: float, most_s: float) -> None:
        """Waits for a length of time that the seed chooses."""
        await asyncio.sleep(self.random.uniform(least_s, most_s))

    def strike(self, name: str) -> None:
        """Notes that ``name`` is about to happen, and where every live call stands. Do it without waiting."""
        positions = {caller.call_id: caller.call.line.at_ms for caller in self.live}
        self._strikes.append(Strike(name=name, at=datetime.now(UTC), positions_ms=positions))

    def busiest(self) -> Process:
        """The worker that serves the most live calls."""
        owners = Counter(owner for caller in self.live if (owner := self._owner(caller.call_id)) is not None)
        name, _ = max(owners.items(), key=lambda item: item[1])
        return next(worker for worker in self.scene.workers if worker.name.replace(" ", "-") == name)

    def served_by(self, worker: Process) -> list[Caller]:
        """The live calls of one worker."""
        name = worker.name.replace(" ", "-")
        return [caller for caller in self.live if self._owner(caller.call_id) == name]

    def _owner(self, call_id: CallId) -> str | None:
        facts = self.scene.testimony.of(call_id)
        return self.scene.testimony.author(call_id, facts[-1].epoch) if facts else None

    async def all_ended(self) -> None:
        """Waits until every call is over, and the carrier has told everybody; hangs up what lasts too long."""
        try:
            async with asyncio.timeout(LASTS_S):
                await asyncio.gather(*(asyncio.shield(talk) for talk in self._talks.values()))
        except TimeoutError:
            for caller in self.live:
                caller.call.hang_up()
        await asyncio.gather(*(caller.call.settled(timeout_s=30.0) for caller in self.callers))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Notes each change of status that the API shows; while it cannot answer there is nothing to note."""
        watching = asyncio.create_task(self._watch(), name="statuses")
        try:
            yield
        finally:
            tasks = [watching, *self._talks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                for tenant in self.scene.tenants:
                    for view in (await tenant.api.calls(limit=200)).items:
                        self._listed.setdefault(view.id, set()).add(tenant.project_id)
                        seen = self._statuses.setdefault(view.id, [])
                        if seen[-1:] != [view.status]:
                            seen.append(view.status)
            except (ApiError, Unreachable):
                pass  # what is away is the scenario's affair
            await asyncio.sleep(WATCH_EVERY_S)

    async def history(self, *, with_recordings: bool = False) -> History:
        """What happened, once every fact that was stated is stored, or `STORED_WITHIN_S` have passed."""
        await self._until_stored(with_recordings)
        keys = {call.call_id: self._keys(call.call_id) for call in self.callers}
        known = frozenset[str]().union(*keys.values())
        stray = sorted(set(self.scene.desk.booked) - self._told_keys - known)
        return History(
            scenario=self.scenario,
            seed=self.seed,
            strikes=tuple(self._strikes),
            calls=tuple([await self._call(caller, keys[caller.call_id], with_recordings) for caller in self.callers]),
            stray_bookings=tuple(f"a booking of no call: {key}" for key in stray),
            contradictions=tuple(self.scene.testimony.contradictions),
            leaks=self._leaks(),
            forgeries=self._forgeries(),
        )

    async def _until_stored(self, with_recordings: bool) -> None:
        try:
            async with asyncio.timeout(STORED_WITHIN_S):
                for caller in self.callers:
                    while not await self._is_stored(caller.call_id, with_recordings):  # noqa: ASYNC110 - the API is asked
                        await asyncio.sleep(0.5)
        except TimeoutError:
            return  # the checker says what is missing

    async def _is_stored(self, call_id: CallId, with_recording: bool) -> bool:
        """Whether a call has ended, its record holds everything that was stated until now, and all webhooks came."""
        self.scene.testimony.look()
        _, stored = await self._stored(call_id)
        tags = {fact.type for fact in stored}
        told = {notice.call_seq for notice in self._notices(call_id) if notice.is_taken}
        return (
            "call.ended" in tags
            and sum(fact.epoch > 0 for fact in stored) >= len(self.scene.testimony.of(call_id))
            and (not with_recording or "recording.ready" in tags)
            and {fact.call_seq for fact in stored if fact.type in PUBLIC_TAGS} <= told
        )

    async def _stored(self, call_id: CallId) -> tuple[CallView | None, tuple[StoredFact, ...]]:
        api = self._tenants[call_id].api
        try:
            return await api.call(call_id), await every_fact(api, call_id)
        except (ApiError, Unreachable):
            return None, ()

    def _keys(self, call_id: CallId) -> frozenset[str]:
        """The idempotency keys of a call's bookings, as the worker that asked wrote them down."""
        facts = self.scene.testimony.of(call_id)
        return frozenset(
            fact.tool_call_id.replace(".", "_")
            for fact in facts
            if isinstance(fact, ToolCalled) and fact.tool == BOOK_TOOL
        )

    async def _call(self, caller: Caller, keys: frozenset[str], with_recording: bool) -> CallHistory:
        call, call_id = caller.call, caller.call_id
        view, stored = await self._stored(call_id)
        booked = [entry for key, entry in self.scene.desk.booked.items() if key in keys]
        return CallHistory(
            call_id=call_id,
            project_id=self._tenants[call_id].project_id,
            shown_to=await self._shown_to(call_id),
            notices=self._notices(call_id),
            told=self._talks[call_id].result() if self._talks[call_id].done() else Told(failure="it never ended"),
            carrier_status=call.status,
            journal=call.journal,
            heard=call.heard,
            said=call.said,
            heard_texts=call.heard_texts,
            stated=tuple(self.scene.testimony.of(call_id)),
            view=view,
            stored=stored,
            statuses=tuple(self._statuses.get(call_id, ())),
            bookings=tuple((entry.day, entry.time) for entry in booked),
            recording_ms=await self._recording_ms(call_id) if with_recording else None,
        )

    def _notices(self, call_id: CallId) -> tuple[Notice, ...]:
        """What the projects' servers were sent about a call."""
        return tuple(
            Notice(
                project_id=tenant.project_id,
                id=request.id,
                type=request.type,
                call_seq=request.data["call_seq"],
                is_taken=request.is_taken,
            )
            for tenant in self.scene.tenants
            for request in tenant.receiver.received
            if request.data.get("call_id") == call_id
        )

    async def _shown_to(self, call_id: CallId) -> tuple[ProjectId, ...]:
        """Whose lists had the call while it went on, and whose key opens it."""
        shown = set(self._listed.get(call_id, ()))
        for tenant in self.scene.tenants:
            try:
                await tenant.api.call(call_id)
                shown.add(tenant.project_id)
            except (ApiError, Unreachable):
                pass  # refused, as it should be, or away, which the check of what is stored tells
        return tuple(sorted(shown))

    def _forgeries(self) -> tuple[str, ...]:
        """Webhooks that their receivers refused, each told once."""
        found = [
            f"{tenant.project_id} got a webhook: {why}"
            for tenant in self.scene.tenants
            for why in tenant.receiver.failures
        ]
        for tenant in self.scene.tenants:
            tenant.receiver.failures.clear()
        return tuple(found)

    async def _recording_ms(self, call_id: CallId) -> int | None:
        try:
            return round(1000 * measured(await self._tenants[call_id].api.recording(call_id)).duration_s)
        except (ApiError, Unreachable):
            return None

    def _leaks(self) -> tuple[str, ...]:
        """I8: the logs that hold a secret of this installation or the number of anybody in its calls."""
        numbers = {caller.call.from_ for caller in self.callers}
        numbers |= {tenant.number.e164 for tenant in self.scene.tenants}
        digits = [re.escape(number.removeprefix("+")) for number in numbers]
        forbidden = re.compile("|".join([*map(re.escape, self.scene.secrets), *digits]))
        return tuple(
            f"{log.relative_to(self.scene.folder)} holds a secret or a phone number"
            for log in self.scene.logs
            for line in self._new_lines(log)
            if forbidden.search(line)
        )

    def _new_lines(self, log: Path) -> list[str]:
        """What was written since the last run on this scene."""
        with log.open("rb") as file:
            file.seek(self.scene.scanned.get(log, 0))
            text = file.read()
        self.scene.scanned[log] = self.scene.scanned.get(log, 0) + len(text)
        return text.decode(errors="replace").splitlines()


async def _talk(caller: Caller) -> Told:
    return await caller.converse()
