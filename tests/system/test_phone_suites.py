"""Suites by phone: real calls, with sound, to a caller whom the carrier emulator plays."""

import asyncio
import signal

import msgspec
import yaml

from turncall.client.suites import all_trials
from turncall_proto.agent import AgentSpec
from turncall_testkit.house import ACCOUNT, House

SUITE = """
name: Reception by phone
scenarios:
  - name: Interrupts
    sound: {voice: en-us+klatt4}
    caller:
      kind: script
      steps:
        - {step: say, text: What are your opening hours}
        - {step: interrupt, text: sorry, after_ms: 300}
    expects:
      - {expect: said, any_of: [thank you for calling]}
      - {expect: ended, reason: customer_ended_call}
"""


async def test_a_conversation_by_phone_outlives_who_runs_it_and_is_judged_once(house: House, agent: AgentSpec) -> None:
    """Control is killed while the agent talks with the caller; another goes on, and there was one call."""
    booked = len(house.desk.booked)
    made = await house.api.create_agent("Phoned", agent)
    await house.api.publish_agent(made.id)
    number = (await house.answering(agent, name="Owner of a number"))[1]
    suite = await house.api.put_test_suite(msgspec.convert(yaml.safe_load(SUITE), dict))
    run = await house.api.run_tests(suite.id, agent_id=made.id, mode="phone", from_number=number.e164)
    assert (run.mode, run.account, run.from_number) == ("phone", ACCOUNT.sid, number.e164)
    async with asyncio.timeout(60):
        while not [call for call in (await house.api.calls(is_test="true")).items if call.started_at]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    (control,) = house.installation.controls
    control.signal(signal.SIGKILL)
    await control.ended(20)
    await house.installation.start_again(control)
    async with asyncio.timeout(120):
        while (over := await house.api.test_run(run.id)).state == "running":  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    (trial,) = [trial async for trial in all_trials(house.api, run.id)]
    assert over.outcome == "passed", msgspec.json.format(msgspec.json.encode(trial)).decode()
    assert [call.id for call in (await house.api.calls(is_test="true")).items] == [trial.call_id]
    assert len(house.desk.booked) == booked, "a mocked tool is not used"
