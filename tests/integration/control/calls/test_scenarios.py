"""From a call to a test in one request."""

from typing import Any

from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal
from turncall_proto.ids import CallId


async def test_a_call_makes_a_scenario_that_a_suite_takes(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Once it is over, and if anybody spoke; what comes goes into a suite as it is."""
    path = f"/v1/calls/{call_id}/scenario"

    async def drafted() -> Any:
        return await desk.http.post(path, json={"name": "As on the phone"}, headers=desk.bearer)

    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await worker.publish(
        worker.fact(TranscriptFinal, plan, speaker="caller", text="Tuesday, please.", start_ms=1, end_ms=2, turn=1),
        worker.fact(ToolCalled, plan, tool_call_id="t1", tool="book", arguments={"day": "tuesday"}, turn=1),
        worker.fact(ToolReturned, plan, tool_call_id="t1", tool="book", is_ok=True, output={"id": 1}, latency_ms=3),
    )
    early = await drafted()
    assert (early.status_code, early.json()["type"]) == (409, "urn:turncall:problem:not-testable")
    await worker.closes(plan, CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="12")
    await desk.comes(call_id, "call.ended")
    answer = await drafted()
    assert answer.status_code == 200, answer.text
    scenario = answer.json()
    assert scenario["caller"] == {"kind": "script", "steps": [{"step": "say", "text": "Tuesday, please."}]}
    assert [(mock["tool"], mock["answer"]) for mock in scenario["mocks"]] == [("book", {"id": 1})]
    assert [one["expect"] for one in scenario["expects"]] == ["tool_called", "ended"]
    suite = {"name": "Calls", "scenarios": [scenario]}
    put = await desk.http.put("/v1/test-suites", json=suite, headers=desk.bearer)
    assert put.status_code == 200, put.text
