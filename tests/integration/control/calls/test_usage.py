"""What vendors did, summed over calls, and its cost by the operator's prices."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import UsageReported
from turncall_proto.ids import CallId


@pytest.fixture
async def used(desk: Any, worker: Any, sid: str, call_id: CallId) -> Any:
    """A call of two epochs, each with what its worker's vendors did."""
    await desk.rings(sid)
    first = worker.offers[-1].plan
    await worker.opens(first)
    for plan in (first, replace(first, epoch=2)):
        await worker.publish(
            worker.fact(UsageReported, plan, kind="stt", vendor="deepgram", model="nova-3", audio_ms=30_000),
            worker.fact(UsageReported, plan, kind="llm", vendor="local", model="", input_tokens=7, output_tokens=2),
        )
    await desk.becomes(call_id, event_count=9)
    yield first
    await worker.closes(first, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)


async def test_a_calls_usage_is_summed_over_its_workers(desk: Any, used: Any, call_id: CallId) -> None:
    """Two epochs of one vendor are one line; what the price list names is summed, the rest stays without a cost."""
    shown = (await desk.get(f"/v1/calls/{call_id}/usage")).json()
    assert [(part["kind"], part["vendor"], part["audio_ms"], part["input_tokens"]) for part in shown["vendors"]] == [
        ("llm", "local", 0, 14),
        ("stt", "deepgram", 60_000, 0),
    ]
    assert [part["cost_micros"] for part in shown["vendors"]] == [None, 6000]
    assert (shown["currency"], shown["cost_micros"]) == ("USD", 6000)


async def test_a_projects_usage_is_told_by_day_agent_and_vendor(desk: Any, used: Any) -> None:
    """Each key with its calls and its vendors; outside the span there is nothing, and strangers see none of it."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for by, key in (("day", today), ("agent", desk.agent_id), ("vendor", "deepgram")):
        rows = (await desk.get("/v1/usage", params={"by": by})).json()["rows"]
        row = next(row for row in rows if row["key"] == key)
        assert row["calls"] >= 1
        assert row["cost_micros"] >= 6000
        assert any(part["vendor"] == "deepgram" and part["audio_ms"] >= 60_000 for part in row["vendors"])
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    assert (await desk.get("/v1/usage", params={"since": later, "until": until})).json()["rows"] == []
    stranger = await desk.another_project()
    assert (await desk.http.get("/v1/usage", headers=stranger)).json()["rows"] == []
    for wrong in ({"since": until, "until": later}, {"since": "2020-01-01T00:00:00Z"}, {"by": "moon"}):
        assert (await desk.get("/v1/usage", params=wrong)).status_code == 422
