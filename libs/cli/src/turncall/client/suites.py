"""Test suites and their runs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from turncall.client.shapes import Page
from turncall.client.suite_shapes import (
    Comparison,
    Mode,
    ReplayView,
    RunSummary,
    RunView,
    ScheduleView,
    SuiteSummary,
    SuiteView,
    TrialView,
)
from turncall.client.transport import Transport
from turncall_proto.ids import AgentId, CallId, RunId, SuiteId, VersionId
from turncall_proto.scenario import Scenario


class Suites(Transport):
    """Part of `TurnCall`."""

    async def put_test_suite(self, file: Mapping[str, Any]) -> SuiteView:
        """Makes a suite, or brings the one of that name to what ``file`` says."""
        return await self.request("PUT", "/v1/test-suites", SuiteView, body=file)

    async def test_suites(self, *, name: str | None = None, cursor: str | None = None) -> Page[SuiteSummary]:
        """The project's test suites, newest first."""
        return await self.request("GET", "/v1/test-suites", Page[SuiteSummary], query={"name": name, "cursor": cursor})

    async def test_suite(self, suite_id: SuiteId) -> SuiteView:
        """One test suite."""
        return await self.request("GET", f"/v1/test-suites/{suite_id}", SuiteView)

    async def delete_test_suite(self, suite_id: SuiteId) -> None:
        """Deletes a suite; its runs stay."""
        await self.perform("DELETE", f"/v1/test-suites/{suite_id}")

    async def run_tests(
        self,
        suite_id: SuiteId,
        *,
        agent_id: AgentId | None = None,
        version_id: VersionId | None = None,
        scenarios: Sequence[str] = (),
        repeats: int = 1,
        at_once: int = 4,
        mode: Mode = "text",
        from_number: str | None = None,
        key: str = "",
    ) -> RunView:
        """Begins to try a version, or the published one of an agent; ``key`` is an Idempotency-Key."""
        body: dict[str, Any] = {"scenarios": list(scenarios), "repeats": repeats, "at_once": at_once, "mode": mode}
        named = {"agent_id": agent_id, "version_id": version_id, "from_number": from_number}
        body |= {name: value for name, value in named.items() if value}
        return await self.request("POST", f"/v1/test-suites/{suite_id}/runs", RunView, body=body, key=key)

    async def schedule_tests(
        self,
        suite_id: SuiteId,
        agent_id: AgentId,
        *,
        cron: str,
        time_zone: str = "UTC",
        is_paused: bool = False,
        scenarios: Sequence[str] = (),
        repeats: int = 1,
        at_once: int = 4,
    ) -> ScheduleView:
        """Runs a suite against an agent's published version whenever ``cron`` says, on the clock of ``time_zone``."""
        body = {
            "cron": cron,
            "time_zone": time_zone,
            "is_paused": is_paused,
            "scenarios": list(scenarios),
            "repeats": repeats,
            "at_once": at_once,
        }
        return await self.request("PUT", f"/v1/test-suites/{suite_id}/schedules/{agent_id}", ScheduleView, body=body)

    async def test_schedules(self, suite_id: SuiteId, *, cursor: str | None = None) -> Page[ScheduleView]:
        """When a suite is run by itself, agent by agent."""
        query = {"cursor": cursor}
        return await self.request("GET", f"/v1/test-suites/{suite_id}/schedules", Page[ScheduleView], query=query)

    async def delete_test_schedule(self, suite_id: SuiteId, agent_id: AgentId) -> None:
        """Runs the suite against the agent by itself no more."""
        await self.perform("DELETE", f"/v1/test-suites/{suite_id}/schedules/{agent_id}")

    async def draft_scenario(self, call_id: CallId, name: str) -> Scenario:
        """A scenario made of a call that is over; nothing is stored."""
        return await self.request("POST", f"/v1/calls/{call_id}/scenario", Scenario, body={"name": name})

    async def replay_call(
        self,
        call_id: CallId,
        *,
        agent_id: AgentId | None = None,
        version_id: VersionId | None = None,
        from_number: str | None = None,
        key: str = "",
    ) -> ReplayView:
        """Has a recorded call again with a version, or the published one of an agent; ``key`` is an Idempotency-Key."""
        named = {"agent_id": agent_id, "version_id": version_id, "from_number": from_number}
        body = {name: value for name, value in named.items() if value}
        return await self.request("POST", f"/v1/calls/{call_id}/replay", ReplayView, body=body, key=key)

    async def call_replays(self, call_id: CallId, *, cursor: str | None = None) -> Page[ReplayView]:
        """The replays of a call, newest first."""
        return await self.request("GET", f"/v1/calls/{call_id}/replays", Page[ReplayView], query={"cursor": cursor})

    async def test_runs(self, *, cursor: str | None = None, **filters: str | None) -> Page[RunSummary]:
        """The project's test runs, newest first; ``filters`` are the API's."""
        return await self.request("GET", "/v1/test-runs", Page[RunSummary], query={"cursor": cursor, **filters})

    async def test_run(self, run_id: RunId) -> RunView:
        """One test run, with what is known of each scenario by now."""
        return await self.request("GET", f"/v1/test-runs/{run_id}", RunView)

    async def test_trials(self, run_id: RunId, *, cursor: str | None = None) -> Page[TrialView]:
        """The conversations of a run in their order."""
        query = {"cursor": cursor}
        return await self.request("GET", f"/v1/test-runs/{run_id}/trials", Page[TrialView], query=query)

    async def compare_test_runs(self, run_id: RunId, before: RunId) -> Comparison:
        """What has changed from an earlier run to this one."""
        path = f"/v1/test-runs/{run_id}/comparison"
        return await self.request("GET", path, Comparison, query={"before": before})

    async def cancel_test_run(self, run_id: RunId) -> RunView:
        """Ends a run that is under way."""
        return await self.request("POST", f"/v1/test-runs/{run_id}/cancel", RunView)


async def all_trials(api: Suites, run_id: RunId) -> AsyncIterator[TrialView]:
    """Every conversation of a run, page by page."""
    cursor: str | None = None
    while True:
        page = await api.test_trials(run_id, cursor=cursor)
        for trial in page.items:
            yield trial
        cursor = page.next_cursor
        if cursor is None:
            return
