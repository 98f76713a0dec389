"""Jobs from the queue to their answers: a conversation is read by a model behind its real protocol."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from turncall_blobs import MemoryStore
from turncall_bus.memory import MemoryBus
from turncall_media import workshop
from turncall_media.counters import Counters
from turncall_media.jobs.shape import Desk
from turncall_media.workshop import Workshop
from turncall_proto import ids, subjects
from turncall_proto.agent import Analysis, Score, VendorRef
from turncall_proto.codec import decode, encode
from turncall_proto.ids import JobId, ProjectId
from turncall_proto.job import AnalysisDone, AnalysisJob, JobFailed, Parcel, Said, TakeawayWanted, Used
from turncall_testkit.vendors import Manners, OpenAIFake, Reply, openai_fake

ASKED = Analysis(
    summary_instructions="Name the day.",
    success_rubric="An appointment was made.",
    scores=(Score(name="politeness", description="How polite the agent was.", lowest=1, highest=5),),
    extract={"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
)
FOUND = {
    "summary": "The caller booked Tuesday.",
    "is_success": True,
    "success_reason": "book_appointment answered.",
    "sentiment": "positive",
    "scores": {"politeness": 5},
    "extracted": {"day": "tuesday"},
}


def job(*fakes: OpenAIFake, analysis: Analysis = ASKED) -> AnalysisJob:
    """A short conversation to be read by these models."""
    return AnalysisJob(
        job_id=JobId(ids.mint(ids.JOB)),
        project_id=ProjectId(ids.mint(ids.PROJECT)),
        planned_at=datetime.now(UTC),
        secrets={"openai": "a-key"},
        own_vendors=("openai",),
        models=tuple(VendorRef(vendor="openai", options=fake.options("llm")) for fake in fakes),
        analysis=analysis,
        language="en-US",
        said=(
            Said(speaker="agent", text="How can I help?", start_ms=0),
            Said(speaker="caller", text="An appointment on Tuesday, please.", start_ms=61_000),
        ),
        used=(Used(tool="book_appointment", arguments={"day": "tuesday"}, is_ok=True, output={"id": 7}),),
        ended_reason="customer_ended_call",
        duration_ms=65_000,
    )


class Rig:
    """A workshop on a bus in memory."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.blobs = MemoryStore()

    async def answer(self, order: AnalysisJob | Parcel) -> AnalysisDone | JobFailed:
        """Puts the job into the queue; what comes back."""
        await self.bus.publish(subjects.job("analysis"), encode(order), message_id=order.job_id)
        async with asyncio.timeout(10):
            while (found := await self.bus.last(subjects.answers("analysis"))) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return decode(found, AnalysisDone | JobFailed)  # type: ignore[arg-type]


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(workshop, "PAUSES_S", (0.01, 0.01))
    rig = Rig()
    await rig.bus.prepare(subjects.STREAMS)
    desk = Desk(
        bus=rig.bus,
        blobs=rig.blobs,
        open_secret=lambda sealed: sealed,
        egress_allow=("127.0.0.0/8",),
        mcp_programs={},
        now=lambda: datetime.now(UTC),
    )
    shop = Workshop(desk, 2, Counters(CollectorRegistry()).jobs)
    await shop.open()
    yield rig
    await shop.close(1.0)
    await rig.bus.close()


@asynccontextmanager
async def model(*answers: Any) -> AsyncIterator[OpenAIFake]:
    """A model that answers so, one after the other."""
    texts = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
    async with openai_fake(replies=[Reply(text=text) for text in texts]) as fake:
        yield fake


@pytest.mark.proves(
    "agent.analysis.summary_instructions",
    "agent.analysis.success_rubric",
    "agent.analysis.scores.description",
    "agent.analysis.extract",
)
async def test_the_model_reads_the_whole_conversation_and_its_findings_come_back(rig: Rig) -> None:
    """What the agent's author wants to know is in the question, with every word and tool; usage is counted."""
    async with model(FOUND) as fake:
        done = await rig.answer(job(fake))
        question = "\n".join(message["content"] for message in fake.journal[-1].fields["messages"])

    assert isinstance(done, AnalysisDone)
    assert msgspec.to_builtins(done.findings) == FOUND | {"takeaways": {}, "takeaways_gone": ()}
    for expected in (
        "Name the day.",
        "An appointment was made.",
        "How polite the agent was.",
        '"day"',
        "[0:00] agent: How can I help?",
        "[1:01] caller: An appointment on Tuesday, please.",
        'tool book_appointment({"day": "tuesday"}) answered {"id": 7}',
        "customer_ended_call",
    ):
        assert expected in question
    (used,) = done.used
    assert used.vendor == "openai"
    assert used.input_tokens > 0
    assert used.output_tokens > 0


@pytest.mark.proves(
    "agent.analysis.summary",
    "agent.analysis.sentiment",
    "agent.analysis.scores.name",
    "agent.analysis.scores.lowest",
    "agent.analysis.scores.highest",
)
async def test_an_answer_that_does_not_fit_is_shown_to_the_model_again(rig: Rig) -> None:
    """Prose, a mark out of bounds and a part that nobody asked for do not count; what is wrong is told, and counted."""
    marks = Analysis(summary=False, sentiment=False, scores=(Score(name="tone", description="Tone.", highest=3),))
    wrong = {"scores": {"tone": 4}}
    async with model("It went well.", wrong, {"scores": {"tone": 0}}) as fake:
        refused = await rig.answer(job(fake, analysis=marks))
        said = fake.journal[-1].fields["messages"][-1]["content"]
    assert isinstance(refused, JobFailed)
    assert "$.scores.tone" in refused.detail
    assert "$.scores.tone" in said
    assert refused.used[0].output_tokens > 0

    rig.bus = await _fresh(rig)
    fenced = "```json\n" + json.dumps({"scores": {"tone": 3}}) + "\n```"
    async with model({"scores": {"tone": 3}, "summary": "x"}, fenced) as fake:
        done = await rig.answer(job(fake, analysis=marks))
    assert isinstance(done, AnalysisDone)
    assert done.findings.scores == {"tone": 3}
    assert done.findings.summary is None


async def _fresh(rig: Rig) -> MemoryBus:
    await rig.bus.purge(subjects.answers("analysis"))
    return rig.bus


async def test_the_next_model_steps_in(rig: Rig) -> None:
    """A model that refuses its key is not asked again, and the next one reads the call."""
    async with model(FOUND) as broken, model(FOUND) as fake:
        broken.manners = Manners(fault="refuse_key")
        done = await rig.answer(job(broken, fake))
    assert isinstance(done, AnalysisDone)
    assert len(broken.journal) == 1


async def test_a_refused_key_is_told_at_once_and_a_failing_server_is_tried_again(rig: Rig) -> None:
    """The person who asked learns why; a server that fails gets its tries, with a pause between them."""
    async with model(FOUND) as fake:
        fake.manners = Manners(fault="refuse_key")
        refused = await rig.answer(job(fake))
        assert isinstance(refused, JobFailed)
        assert len(fake.journal) == 1

        rig.bus = await _fresh(rig)
        fake.manners = Manners(fault="fail")
        failed = await rig.answer(job(fake))
    assert isinstance(failed, JobFailed)
    assert "3 times" in failed.detail
    assert len(fake.journal) == 4


async def test_a_job_too_large_for_the_bus_comes_from_the_store(rig: Rig) -> None:
    """The parcel says where it lies and what it hashes to."""
    async with model(FOUND) as fake:
        order = job(fake)
        body = msgspec.json.encode(order)
        await rig.blobs.put("jobs/x.json", body, "application/json")
        parcel = Parcel(
            job_id=order.job_id, key="jobs/x.json", sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body)
        )
        done = await rig.answer(parcel)
    assert isinstance(done, AnalysisDone)
    assert done.job_id == order.job_id


@pytest.mark.proves("agent.analysis.takeaways")
async def test_takeaways_are_taken_out_by_their_own_schemas(rig: Rig) -> None:
    """References in a schema mean that schema, the instructions are in the question, and what does not fit is shown to
    the model again; a name without a takeaway is told."""
    address = {
        "type": "object",
        "properties": {"street": {"$ref": "#/$defs/text"}},
        "$defs": {"text": {"minLength": 3}},
    }
    wanted = (
        TakeawayWanted(name="address", schema=address, instructions="Where to deliver to."),
        TakeawayWanted(name="order", schema={"type": "object", "required": ["item"]}),
    )
    order = msgspec.structs.replace
    asked = Analysis(summary=False, sentiment=False)
    wrong = {"takeaways": {"address": {"street": "x"}, "order": {"item": "bread"}}}
    right = {"takeaways": {"address": {"street": "Mill Lane 4"}, "order": {"item": "bread"}}}
    async with model(wrong, right) as fake:
        done = await rig.answer(order(job(fake, analysis=asked), takeaways=wanted, gone=("feedback",), is_written=True))
        question = fake.journal[0].fields["messages"][0]["content"]
        said = fake.journal[-1].fields["messages"][-1]["content"]
    assert isinstance(done, AnalysisDone)
    assert done.findings.takeaways == right["takeaways"]
    assert done.findings.takeaways_gone == ("feedback",)
    assert "takeaways.address: Where to deliver to." in question
    assert "written conversation" in question
    assert "$.takeaways.address.street" in said
