"""Test suites over both planes as processes: a regression that CI sees, and a worker that is killed meanwhile."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import yaml
from msgspec.structs import replace

from turncall.client.shapes import AgentView, AnalysisView
from turncall.client.suites import all_trials
from turncall_proto.agent import AgentSpec, Cascade
from turncall_testkit.house import House, readable

SUITE = """
name: Reception
scenarios:
  - name: Books on Tuesday
    caller:
      kind: script
      steps:
        - {step: say, text: I would like to book an appointment on Tuesday}
        - {step: say, text: at ten o'clock}
        - {step: say, text: goodbye}
    mocks:
      - {tool: book_appointment, arguments: {day: Tuesday}, answer: {number: 4711}}
    expects:
      - {expect: tool_called, tool: book_appointment, arguments: {day: Tuesday, time: "10:00"}, times: 1}
      - {expect: said, any_of: [your number is 4711], in_reply_to: 2}
      - {expect: ended, reason: assistant_ended_call}
      - {expect: answered_within, max_ms: 60000}
  - name: Tells the opening hours
    caller:
      kind: script
      steps:
        - {step: say, text: "When do you open?"}
    expects:
      - {expect: said, any_of: [from nine to five]}
      - {expect: not_said, none_of: [sorry]}
"""


def later(agent: AgentSpec, **options: Any) -> AgentSpec:
    """The receptionist, whose script says something else, or thinks longer."""
    assert isinstance(agent.pipeline, Cascade)
    llm = agent.pipeline.llm
    return replace(agent, pipeline=replace(agent.pipeline, llm=replace(llm, options={**llm.options, **options})))


def with_other_hours(agent: AgentSpec) -> AgentSpec:
    """The receptionist with a regression: it tells the wrong hours."""
    assert isinstance(agent.pipeline, Cascade)
    script = msgspec.json.encode(agent.pipeline.llm.options["script"]).replace(
        b"from nine to five", b"from ten to five"
    )
    return later(agent, script=msgspec.json.decode(script))


async def made(house: House, agent: AgentSpec, name: str) -> AgentView:
    view = await house.api.create_agent(name, agent)
    await house.api.publish_agent(view.id)
    return view


async def turncall(house: House, folder: Path, *arguments: str) -> tuple[int, str]:
    """The command with this house's key; its exit code, and what it printed."""
    key_file = folder / "key"
    key_file.write_text(house.api._http.headers["Authorization"].removeprefix("Bearer "))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "turncall", "test", "--url", house.installation.control_url, "--key-file", str(key_file)),
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_a_regression_fails_in_ci_by_its_name_and_the_old_version_passes(
    house: House, agent: AgentSpec, tmp_path: Path
) -> None:
    """One suite as code, two versions: exit codes, JUnit, what was said, and what has changed from run to run."""
    booked = len(house.desk.booked)
    receptionist = await made(house, agent, "Tested")
    await house.api.put_draft(receptionist.id, with_other_hours(agent))
    await house.api.publish_agent(receptionist.id)
    (tmp_path / "suite.yaml").write_text(SUITE)
    code, printed = await turncall(house, tmp_path, "apply", "suite.yaml")
    assert (code, printed) == (0, "suite.yaml: Reception has 2 scenarios\n")

    arguments = ("run", "Reception", "--repeats", "2", "--junit", "junit.xml")
    code, printed = await turncall(house, tmp_path, *arguments, "--version", "Tested:1")
    assert code == 0, printed
    assert "passed: Reception against version 1" in printed
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "0",
        "errors": "0",
    }
    old = printed.partition(":")[0]

    code, printed = await turncall(house, tmp_path, *arguments, "--agent", "Tested", "--against", old)
    assert code == 1, printed
    assert "failed   Tells the opening hours (0 of 2 passed)" in printed
    assert "passed   Books on Tuesday (2 of 2 passed)" in printed
    assert "broken   Tells the opening hours: 100 % -> 0 %" in printed
    failed = ElementTree.parse(tmp_path / "junit.xml").getroot().findall("testcase[failure]")
    assert [case.get("name") for case in failed] == ["Tells the opening hours (1)", "Tells the opening hours (2)"]
    failure = failed[0].find("failure")
    assert failure is not None
    assert failure.get("message") == "The agent did not say “from nine to five”."
    assert "agent: We are open from Monday to Friday, from ten to five." in (failure.text or "")

    run = (await house.api.test_runs()).items[0]
    trials = [trial async for trial in all_trials(house.api, run.id)]
    assert [trial.state for trial in trials] == ["passed", "failed"] * 2
    assert trials[0].talk is not None
    assert next(used.output for turn in trials[0].talk.turns for used in turn.tools) == {"number": 4711}
    assert len(house.desk.booked) == booked, "a mocked tool is not used"

    weekly = ("schedule", "Reception", "--agent", "Tested", "--cron", "0 7 * * MON", "--time-zone", "Europe/Berlin")
    code, printed = await turncall(house, tmp_path, *weekly)
    assert code == 0, printed
    assert printed.startswith(f"{receptionist.id}  0 7 * * MON Europe/Berlin, next 2")
    assert await turncall(house, tmp_path, *weekly[:4]) == (0, ""), "it ended"


async def test_a_run_and_an_analysis_outlive_their_worker_and_end_once(house: House, agent: AgentSpec) -> None:
    """The only worker is killed in the middle of the conversations, and of the reading of one that is over; another
    does it all anew, and each counts once."""
    slow = await made(house, later(readable(agent), delay_ms=1500), "Slow")
    suite = await house.api.put_test_suite(msgspec.convert(yaml.safe_load(SUITE), dict) | {"name": "Killed"})
    hook = await house.api.create_webhook(
        "http://127.0.0.1:65000/", event_types=["test_run.completed", "analysis.completed"]
    )
    session = await house.api.create_session(slow.id, "visitor-31")
    await house.api.write(session.id, "When do you open?")
    run = await house.api.run_tests(suite.id, agent_id=slow.id)
    async with asyncio.timeout(60):
        while [trial.state async for trial in all_trials(house.api, run.id)] != ["talking"] * 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await house.api.end_session(session.id)

    async def reading() -> AnalysisView | None:
        found = (await house.api.session_analyses(session.id)).analyses
        return found[0] if found else None

    async with asyncio.timeout(60):
        while (begun := await reading()) is None or begun.state != "sent":  # noqa: ASYNC110 - a row's fact
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # into the first answers
    for worker in [worker for worker in house.installation.workers if worker.is_running]:
        worker.signal(signal.SIGKILL)
    assert (await house.api.test_run(run.id)).state == "running"
    await house.installation.add_worker()
    async with asyncio.timeout(90):
        while (over := await house.api.test_run(run.id)).state == "running":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        while (read := await reading()) is None or read.state == "sent":  # noqa: ASYNC110 - a row's fact
            await asyncio.sleep(0.1)
    assert over.outcome == "passed", [trial async for trial in all_trials(house.api, run.id)]
    trials = [trial async for trial in all_trials(house.api, run.id)]
    assert [len(trial.talk.turns) for trial in trials if trial.talk] == [4, 2]
    assert (read.id, read.state) == (begun.id, "done")
    assert read.findings is not None
    assert read.findings.summary == "An appointment was made."
    told = (await house.api.deliveries(webhook_id=hook.webhook.id)).items
    assert sorted(delivery.type for delivery in told) == ["analysis.completed", "test_run.completed"]
