"""A call that is over is read: ordered once, sent with sealed keys, answered once, shown, asked for anew, erased."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from psycopg.types.json import Jsonb

from turncall_bus.bus import Subscription
from turncall_proto import ids, subjects
from turncall_proto.agent import Analysis, VendorRef
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal
from turncall_proto.ids import CallId
from turncall_proto.job import AnalysisDone, AnalysisJob, Findings, JobFailed, ModelUse, Parcel
from turncall_runtime.seal import open_sealed

FINDINGS = Findings(summary="Booked.", sentiment="positive")


class Reader:
    """The text pool in a few lines: keeps the jobs it is given, and answers when told to."""

    def __init__(self, desk: Any) -> None:
        self.jobs: list[AnalysisJob | Parcel] = []
        self._desk = desk

    async def start(self) -> Subscription:
        async def work(message: Any) -> None:
            self.jobs.append(decode(message.data, AnalysisJob | Parcel))  # type: ignore[arg-type]

        working: Subscription = await self._desk.bus.work(
            subjects.TC_JOBS.name, "jobs-analysis", work, subject=subjects.job("analysis"), at_once=4
        )
        return working

    async def comes(self, how_many: int = 1) -> AnalysisJob | Parcel:
        await self._desk.comes_true(lambda: len(self.jobs) >= how_many)
        return self.jobs[-1]

    async def answers(self, job: AnalysisJob, *, suffix: str = "") -> None:
        done = AnalysisDone(
            job_id=job.job_id,
            project_id=job.project_id,
            at=datetime.now(UTC),
            used=(ModelUse(vendor="echo", model="m", input_tokens=100, output_tokens=7),),
            findings=FINDINGS,
        )
        await self._desk.bus.publish(subjects.answers("analysis"), encode(done), message_id=f"{job.job_id}{suffix}")


@pytest.fixture
async def reader(desk: Any) -> AsyncIterator[Reader]:
    reader = Reader(desk)
    working = await reader.start()
    yield reader
    await working.close()
    await desk.execute("update agent_versions set config = config - 'analysis'")


async def analysed(desk: Any, model: VendorRef | None = None) -> None:
    """From here on the number's agent wants its calls read."""
    config = msgspec.to_builtins(Analysis(model=model))
    await desk.execute(
        "update agent_versions set config = jsonb_set(config, '{analysis}', %s) where id = %s",
        Jsonb(config),
        ids.parsed(ids.VERSION, desk.version_id),
    )


async def talked(desk: Any, worker: Any, sid: str, *texts: str) -> Any:
    """A call on which the caller said this, and that is over."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    facts: list[Any] = [
        worker.fact(TranscriptFinal, plan, speaker="caller", text=text, start_ms=n, end_ms=n + 1, turn=n)
        for n, text in enumerate(texts)
    ]
    facts.append(worker.fact(ToolCalled, plan, tool_call_id="t1", tool="book", arguments={"day": "tuesday"}, turn=1))
    facts.append(
        worker.fact(ToolReturned, plan, tool_call_id="t1", tool="book", is_ok=True, output={"id": 1}, latency_ms=3)
    )
    await worker.publish(*facts)
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="12")
    await desk.comes(plan.call_id, "call.ended")
    return plan


@pytest.mark.proves("agent.analysis.model.vendor", "agent.analysis.model.options")
async def test_a_call_that_is_over_is_read_once(
    desk: Any, worker: Any, reader: Reader, sid: str, call_id: CallId
) -> None:
    """The job holds the words, the tools and the sealed key of the model that the analysis names; its answer becomes
    a fact, a usage and what the API shows, also when it comes twice."""
    await analysed(desk, VendorRef(vendor="deepgram", options={"model": "reader-1"}))
    await talked(desk, worker, sid, "On Tuesday, please.")
    job = await reader.comes()
    assert isinstance(job, AnalysisJob)
    assert [said.text for said in job.said] == ["On Tuesday, please."]
    assert [(used.tool, used.is_ok, used.output) for used in job.used] == [("book", True, {"id": 1})]
    assert job.ended_reason == "customer_ended_call"
    assert job.models == (VendorRef(vendor="deepgram", options={"model": "reader-1"}),)
    assert open_sealed(job.secrets["deepgram"], [desk.seal_private_key]).reveal() == "deepgram-key"
    shown = (await desk.get(f"/v1/calls/{call_id}/analysis")).json()["analyses"]
    assert [(one["id"], one["state"], one["findings"]) for one in shown] == [(job.job_id, "sent", None)]

    await reader.answers(job)
    await reader.answers(job, suffix=".again")
    await desk.comes(call_id, "analysis.completed")
    (one,) = (await desk.get(f"/v1/calls/{call_id}/analysis")).json()["analyses"]
    assert one["state"] == "done"
    assert one["findings"]["summary"] == "Booked."
    used = (await desk.get(f"/v1/calls/{call_id}/usage")).json()["vendors"]
    assert [(part["vendor"], part["input_tokens"]) for part in used] == [("echo", 100)]
    await asyncio.sleep(0.1)
    assert (await desk.types(call_id)).count("analysis.completed") == 1


async def test_it_is_read_anew_on_request_and_call_ended_stays_one(
    desk: Any, worker: Any, reader: Reader, sid: str, call_id: CallId
) -> None:
    """One that is under way is the answer to who asks meanwhile; afterwards there is another reading."""
    await analysed(desk)
    await talked(desk, worker, sid, "Hello.")
    first = await reader.comes()
    path = f"/v1/calls/{call_id}/analysis"
    during = await desk.http.post(path, headers=desk.bearer)
    assert (during.status_code, during.json()["id"]) == (202, first.job_id)
    assert isinstance(first, AnalysisJob)
    await reader.answers(first)
    await desk.comes(call_id, "analysis.completed")

    again = await desk.http.post(path, headers=desk.bearer)
    assert again.json()["id"] != first.job_id
    second = await reader.comes(2)
    failed = JobFailed(
        job_id=second.job_id, project_id=desk.project_id, at=datetime.now(UTC), detail="No model answers"
    )
    await desk.bus.publish(subjects.answers("analysis"), encode(failed), message_id=second.job_id)
    await desk.comes_true(lambda: _states(desk, call_id, ["failed", "done"]))
    types = await desk.types(call_id)
    assert types.count("call.ended") == 1
    assert types.count("analysis.completed") == 2
    (newest, _) = (await desk.get(path)).json()["analyses"]
    assert newest["detail"] == "No model answers"


async def _states(desk: Any, call_id: CallId, wanted: list[str]) -> bool:
    shown = (await desk.get(f"/v1/calls/{call_id}/analysis")).json()["analyses"]
    return [one["state"] for one in shown] == wanted


async def test_what_cannot_be_read_is_refused(
    desk: Any, worker: Any, reader: Reader, sid: str, call_id: CallId
) -> None:
    """A live call, and one whose agent asks for no analysis."""
    await desk.rings(sid)
    path = f"/v1/calls/{call_id}/analysis"
    live = await desk.http.post(path, headers=desk.bearer)
    assert (live.status_code, live.json()["type"]) == (409, "urn:turncall:problem:not-analysable")
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await worker.publish(worker.fact(TranscriptFinal, plan, speaker="caller", text="Hi.", start_ms=0, end_ms=1, turn=1))
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="12")
    await desk.comes(call_id, "call.ended")
    unasked = await desk.http.post(path, headers=desk.bearer)
    assert unasked.status_code == 409
    assert reader.jobs == []


async def test_a_long_call_travels_as_a_parcel_and_leaves_no_blob(
    desk: Any, worker: Any, reader: Reader, sid: str, call_id: CallId
) -> None:
    """What does not fit a message lies in the store until it is answered."""
    await analysed(desk)
    await talked(desk, worker, sid, *[f"{number} " + "word " * 4000 for number in range(15)])
    parcel = await reader.comes()
    assert isinstance(parcel, Parcel)
    body = await desk.plane.blobs.read(parcel.key)
    job = msgspec.json.decode(body, type=AnalysisJob)
    assert len(job.said) == 15
    await reader.answers(job)
    await desk.comes(call_id, "analysis.completed")

    async def is_gone() -> bool:
        return await _states(desk, call_id, ["done"]) and not await _there(desk, parcel.key)

    await desk.comes_true(is_gone)


async def _there(desk: Any, key: str) -> bool:
    try:
        await desk.plane.blobs.stat(key)
    except Exception:  # noqa: BLE001 - whatever a store says about what is not there
        return False
    return True


async def test_a_job_that_nobody_answers_is_sent_again_and_given_up(
    desk: Any, worker: Any, reader: Reader, sid: str, call_id: CallId
) -> None:
    """Its message may be lost with the stream; after three times it has failed, and says so."""
    await analysed(desk)
    await talked(desk, worker, sid, "Hello.")
    for sent in (1, 2, 3):
        await reader.comes(sent)
        await desk.comes_true(lambda: _sent(desk, call_id, sent))  # noqa: B023 - awaited before the next turn
        await desk.execute("update jobs set due_at = now() where call_id = %s", ids.parsed(ids.CALL, call_id))
    await desk.comes_true(lambda: _states(desk, call_id, ["failed"]))
    assert len(reader.jobs) == 3


async def _sent(desk: Any, call_id: CallId, tries: int) -> bool:
    found = await desk.rows("select tries from jobs where call_id = %s", ids.parsed(ids.CALL, call_id))
    return bool(found == [(tries,)])


async def test_a_session_that_is_over_is_read_too(desk: Any, reader: Reader) -> None:
    """By the takeaways that its agent names, as they are defined then; its answer is shown and told, once, and it is
    read anew on demand. What nobody wrote in is not read."""
    schema = {"type": "object", "properties": {"day": {"type": "string"}}}
    made = await desk.http.post(
        "/v1/takeaways", json={"name": "visit", "schema": schema, "instructions": "The day."}, headers=desk.bearer
    )
    assert made.status_code == 201, made.text
    hook = await desk.http.post("/v1/webhooks", json={"url": "http://127.0.0.1:65000/h"}, headers=desk.bearer)
    await desk.execute(
        "update agent_versions set config = jsonb_set(config, '{analysis}', %s) where id = %s",
        Jsonb(msgspec.to_builtins(Analysis(takeaways=("feedback", "visit")))),
        ids.parsed(ids.VERSION, desk.version_id),
    )
    empty, written = [
        (
            await desk.http.post("/v1/sessions", json={"agent_id": desk.agent_id, "contact": "v"}, headers=desk.bearer)
        ).json()
        for _ in range(2)
    ]
    await desk.execute(
        "insert into messages (session_id, seq, id, project_id, author, text, channel)"
        " select id, 2, uuidv7(), project_id, 'contact', 'On Tuesday.', channel from sessions where id = %s",
        ids.parsed(ids.SESSION, written["id"]),
    )
    path = f"/v1/sessions/{written['id']}/analysis"
    assert (await desk.http.post(path, headers=desk.bearer)).status_code == 409, "it is not over"
    for session in (empty, written):
        await desk.http.post(f"/v1/sessions/{session['id']}/end", headers=desk.bearer)
    job = await reader.comes()
    assert isinstance(job, AnalysisJob)
    assert [(said.speaker, said.text) for said in job.said] == [("agent", "Hello."), ("caller", "On Tuesday.")]
    assert (job.is_written, job.ended_reason, job.gone) == (True, "ended", ("feedback",))
    assert [(one.name, one.schema, one.instructions) for one in job.takeaways] == [("visit", schema, "The day.")]
    await reader.answers(job)
    await reader.answers(job, suffix=".again")

    async def done() -> bool:
        return (await desk.get(path)).json()["analyses"][0]["state"] == "done"

    await desk.comes_true(done)
    (shown,) = (await desk.get(path)).json()["analyses"]
    assert shown["findings"]["summary"] == "Booked."
    assert shown["used"][0]["input_tokens"] == 100
    told = (await desk.get("/v1/webhook-deliveries")).json()["items"]
    mine = [one for one in told if one["webhook_id"] == hook.json()["webhook"]["id"]]
    assert [one["type"] for one in mine if one["type"].startswith("analysis")] == ["analysis.completed"]
    again = await desk.http.post(path, headers=desk.bearer)
    assert again.status_code == 202, again.text
    await desk.comes_true(lambda: len(reader.jobs) == 2)
    refused = await desk.http.post(f"/v1/sessions/{empty['id']}/analysis", headers=desk.bearer)
    assert refused.status_code == 409
