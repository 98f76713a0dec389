"""``turncall test``: suites as code, and runs whose exit codes are for CI.

0: everything passed. 1: a scenario failed, or was refused. 2: something could not be found out. 3: the run was
cancelled. 4: it was not over in time. A failure counts before an error.
"""

import argparse
import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from turncall import agents, replays
from turncall.agents import FileRefused
from turncall.client import ApiError, TurnCall
from turncall.client.suite_shapes import RunView, TrialView
from turncall.client.suites import all_trials
from turncall_proto.ids import AgentId, CallId, RunId, SuiteId, VersionId

PASSED, FAILED, ERRED, CANCELED, STOPPED_WAITING = range(5)
LOOK_EVERY_S: Final = 0.5
LOOK_AT_LEAST_EVERY_S: Final = 5.0
_CODES: Final = {"passed": PASSED, "failed": FAILED, "error": ERRED, "canceled": CANCELED, "pending": STOPPED_WAITING}
_NOT_IN_XML: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), "�")
Tell = Callable[[str], None]


def declare(parser: argparse.ArgumentParser) -> None:
    """The verbs of ``test``."""
    verbs = parser.add_subparsers(dest="test_verb", required=True)
    verbs.add_parser("list", help="the project's test suites")
    apply = verbs.add_parser("apply", help="bring test suites to what files say")
    apply.add_argument("files", nargs="+", type=Path)
    run = verbs.add_parser("run", help="try a version with a suite; exit code 1 if a scenario fails")
    run.add_argument("suite", help="a suite's name")
    _declare_whom(run)
    _declare_tries(run)
    run.add_argument("--mode", choices=("text", "phone"), default="text", help="phone: real calls, with sound")
    run.add_argument("--from", dest="from_number", help="by phone: who calls; the project's first number if absent")
    run.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit's XML")
    run.add_argument("--against", metavar="RUN", help="also say what has changed from this earlier run")
    run.add_argument("--within", type=float, default=900.0, metavar="SECONDS", help="wait so long at most")
    schedule = verbs.add_parser("schedule", help="when a suite is run by itself")
    schedule.add_argument("suite", help="a suite's name")
    schedule.add_argument("--agent", help="a name or an id: its published version is tried; left out: list")
    schedule.add_argument(
        "--cron", metavar="'0 7 * * MON-FRI'", help="minute, hour, day, month, weekday; left out: never"
    )
    schedule.add_argument("--time-zone", default="UTC", metavar="NAME", help="whose clock that is: Europe/Berlin")
    _declare_tries(schedule)
    replay = verbs.add_parser("replay", help="have a recorded call again; exit code 1 if something has changed")
    replay.add_argument("call", help="a call's id")
    replay.add_argument("--from", dest="from_number", help="who calls; the project's first number if absent")
    replay.add_argument("--environment", default="development", help="of an agent that is named by its name")
    replay.add_argument("--within", type=float, default=900.0, metavar="SECONDS", help="wait so long at most")
    _declare_whom(replay)


def _declare_whom(verb: argparse.ArgumentParser) -> None:
    whom = verb.add_mutually_exclusive_group(required=True)
    whom.add_argument("--agent", help="a name or an id: its published version is tried")
    whom.add_argument("--version", help="a version's id; or NAME:draft, NAME:published, NAME:3")


def _declare_tries(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--environment", default="development", help="of an agent that is named by its name")
    verb.add_argument("--scenario", action="append", default=[], help="only this one; may be given again")
    verb.add_argument("--repeats", type=int, default=1, help="how often each conversation is had")
    verb.add_argument("--at-once", type=int, default=4, help="conversations side by side")


async def run(options: argparse.Namespace, api: TurnCall, tell: Tell) -> int:
    """Carries out one verb; its exit code."""
    match options.test_verb:
        case "list":
            return await listed(api, tell)
        case "apply":
            return await applied(api, options.files, tell)
        case "schedule":
            return await scheduled(api, options, tell)
        case "replay":
            agent_id, version_id = await _whom(api, options)
            asked = {"agent_id": agent_id, "version_id": version_id, "from_number": options.from_number}
            return await replays.replayed(api, CallId(options.call), options.within, tell, **asked)
        case _:
            return await tried(api, options, tell)


async def listed(api: TurnCall, tell: Tell) -> int:
    """Prints every suite of the project with its scenarios."""
    cursor: str | None = None
    while True:
        page = await api.test_suites(cursor=cursor)
        for suite in page.items:
            tell(f"{suite.id}  {suite.name}: {', '.join(suite.scenarios)}")
        cursor = page.next_cursor
        if cursor is None:
            return PASSED


async def applied(api: TurnCall, paths: Iterable[Path], tell: Tell) -> int:
    """Brings each file's suite to what the file says; goes on with the next file when one is refused."""
    code = PASSED
    for path in paths:
        try:
            document, text = agents.read(path, "a suite's file holds name and scenarios")
            suite = await api.put_test_suite(document)
        except FileRefused as error:
            tell(str(error))
            code = FAILED
        except ApiError as error:
            tell(agents.explained(path, text, error))
            code = FAILED
        else:
            tell(f"{path}: {suite.name} has {len(suite.scenarios)} scenarios")
    return code


async def scheduled(api: TurnCall, options: argparse.Namespace, tell: Tell) -> int:
    """Says when a suite is run by itself, having changed that for one agent if one is named."""
    suite_id = await _suite(api, options.suite)
    if options.agent is not None:
        agent_id = await _agent(api, options.agent, options.environment)
        if options.cron is None:
            await api.delete_test_schedule(suite_id, agent_id)
        else:
            await api.schedule_tests(
                suite_id,
                agent_id,
                cron=options.cron,
                time_zone=options.time_zone,
                scenarios=options.scenario,
                repeats=options.repeats,
                at_once=options.at_once,
            )
    cursor: str | None = None
    while True:
        page = await api.test_schedules(suite_id, cursor=cursor)
        for one in page.items:
            due = "paused" if one.next_at is None else f"next {one.next_at:%Y-%m-%d %H:%M} UTC"
            tell(f"{one.agent_id}  {one.cron} {one.time_zone}, {due}{f': {one.problem}' if one.problem else ''}")
        cursor = page.next_cursor
        if cursor is None:
            return PASSED


async def tried(api: TurnCall, options: argparse.Namespace, tell: Tell) -> int:
    """Begins a run, waits for its end, and tells what came of it. A run that is not over in time goes on."""
    suite_id = await _suite(api, options.suite)
    agent_id, version_id = await _whom(api, options)
    begun = await api.run_tests(
        suite_id,
        agent_id=agent_id,
        version_id=version_id,
        scenarios=options.scenario,
        repeats=options.repeats,
        at_once=options.at_once,
        mode=options.mode,
        from_number=options.from_number,
    )
    by_phone = f", by phone from {begun.from_number} in {begun.account}" if begun.mode == "phone" else ""
    tell(f"{begun.id}: {begun.suite_name} against version {begun.version_number}{by_phone}")
    over = await _over(api, begun, options.within)
    trials = [trial async for trial in all_trials(api, over.id)]
    _report(over, trials, tell)
    if options.junit is not None:
        _write(options.junit, junit(over, trials))
    if options.against is not None:
        comparison = await api.compare_test_runs(over.id, RunId(options.against))
        for change in comparison.scenarios:
            tell(f"  {change.change:<8} {change.scenario}: {_percent(change.before)} -> {_percent(change.after)}")
    if over.state == "running":
        tell(f"{over.id} is not over after {options.within:g} s; it goes on")
        return STOPPED_WAITING
    return _CODES[over.outcome]


def junit(run: RunView, trials: Sequence[TrialView]) -> bytes:
    """A run as JUnit's XML: a test case for each conversation."""
    counts = {state: sum(trial.state == state for trial in trials) for state in ("failed", "error", "canceled")}
    suite = ElementTree.Element(
        "testsuite",
        name=_in_xml(run.suite_name),
        tests=str(len(trials)),
        failures=str(counts["failed"]),
        errors=str(len(trials) - sum(trial.state in ("passed", "failed", "canceled") for trial in trials)),
        skipped=str(counts["canceled"]),
        timestamp=run.created_at.isoformat(),
    )
    for trial in trials:
        repeat = f" ({trial.repeat})" if run.repeats > 1 else ""
        lasted_s = (trial.ended_at - trial.began_at).total_seconds() if trial.ended_at and trial.began_at else 0.0
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_in_xml(run.suite_name),
            name=_in_xml(f"{trial.scenario}{repeat}"),
            time=f"{lasted_s:.3f}",
        )
        kind = {"passed": None, "failed": "failure", "canceled": "skipped"}.get(trial.state, "error")
        if kind is not None:
            told = _in_xml(trial.detail or trial.state)
            ElementTree.SubElement(case, kind, message=told).text = _in_xml("\n".join(_lines(trial)))
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _in_xml(text: str) -> str:
    """Without what no XML may hold, however it is escaped."""
    return text.translate(_NOT_IN_XML)


def _lines(trial: TrialView) -> list[str]:
    lines: list[str] = []
    for turn in trial.talk.turns if trial.talk else ():
        lines += [f"caller: {turn.caller}"] if turn.caller else []
        lines += [f"tool: {used.tool}" for used in turn.tools]
        lines += [f"agent: {turn.agent}"] if turn.agent else []
    return lines


def _report(run: RunView, trials: Sequence[TrialView], tell: Tell) -> None:
    for result in run.scenarios:
        decided = result.passed + result.failed
        flake = f", {_percent(result.flake_rate)} flaky" if result.flake_rate else ""
        tell(f"  {result.outcome:<8} {result.scenario} ({result.passed} of {decided} passed{flake})")
        for trial in trials:
            if trial.scenario == result.scenario and trial.state in ("failed", "error"):
                tell(f"           {trial.detail}")
    tell(f"{run.outcome}: {run.suite_name} against version {run.version_number}")


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate * 100:.0f} %"


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise FileRefused(f"--junit: {error}") from error


async def _over(api: TurnCall, run: RunView, within_s: float) -> RunView:
    """The run once it is over, or as it stands when that takes too long."""
    clock = asyncio.get_running_loop().time
    deadline_s, pause_s = clock() + within_s, LOOK_EVERY_S
    while run.state == "running" and clock() < deadline_s:
        await asyncio.sleep(min(pause_s, max(0.0, deadline_s - clock())))
        pause_s = min(pause_s * 1.5, LOOK_AT_LEAST_EVERY_S)
        run = await api.test_run(run.id)
    return run


async def _suite(api: TurnCall, name: str) -> SuiteId:
    found = (await api.test_suites(name=name)).items
    if not found:
        raise FileRefused(f"there is no test suite named {name}")
    return found[0].id


async def _whom(api: TurnCall, options: argparse.Namespace) -> tuple[AgentId | None, VersionId | None]:
    """The agent, or the version, that the command line names. Raises `FileRefused`."""
    if options.agent is not None:
        return await _agent(api, options.agent, options.environment), None
    if options.version.startswith("ver_"):
        return None, VersionId(options.version)
    name, sign, which = options.version.rpartition(":")
    if not sign:
        raise FileRefused(f"--version: {options.version} is neither a version's id nor NAME:NUMBER")
    agent_id = await _agent(api, name, options.environment)
    cursor: str | None = None
    while True:
        page = await api.versions(agent_id, cursor=cursor)
        for version in page.items:
            if which in (str(version.number), version.state):
                return None, version.id
        cursor = page.next_cursor
        if cursor is None:
            raise FileRefused(f"--version: {name} has no version {which}")


async def _agent(api: TurnCall, name: str, environment: str) -> AgentId:
    if name.startswith("agt_"):
        return AgentId(name)
    found = (await api.agents(name=name, environment=environment)).items
    if not found:
        raise FileRefused(f"there is no agent named {name} in {environment}")
    return found[0].id
