"""A turn of a session from the queue to its answer: words as they come, tools, memory, and a worker that dies."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from turncall_blobs import MemoryStore
from turncall_bus.memory import MemoryBus
from turncall_media import workshop
from turncall_media.counters import Counters
from turncall_media.jobs import text_turn
from turncall_media.jobs.shape import Desk
from turncall_media.text import summary
from turncall_media.text.tally import Tally
from turncall_media.workshop import Workshop
from turncall_proto import ids, subjects
from turncall_proto.agent import AgentSpec, Cascade, EndCallTool, Fallbacks, SendLinkTool, VendorRef, WebhookTool
from turncall_proto.call import CallStart
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, LinkAsked
from turncall_proto.ids import CallId, JobId, ProjectId, SessionId
from turncall_proto.job import JobFailed, TextTurnDone, TextTurnJob, Wrote
from turncall_proto.live import TextDelta
from turncall_testkit.vendors import Call, Manners, OpenAIFake, Reply, openai_fake

PROJECT = ProjectId(ids.mint(ids.PROJECT))


def agent(*fakes: OpenAIFake, tool_url: str = "", **more: Any) -> AgentSpec:
    """An agent whose model is the first fake, and who falls back on the others."""
    first, *others = (VendorRef(vendor="openai", options=fake.options("llm")) for fake in fakes)
    tools: list[Any] = [EndCallTool()]
    if tool_url:
        tools.append(
            WebhookTool(
                name="book",
                description="Books.",
                url=tool_url,
                parameters={"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
            )
        )
    pipeline = Cascade(
        stt=VendorRef(vendor="local"), llm=first, tts=VendorRef(vendor="local"), fallbacks=Fallbacks(llm=tuple(others))
    )
    return AgentSpec(
        pipeline=pipeline,
        language="en-US",
        prompt="You are {{who}}.",
        variables={"who": "the bakery"},
        tools=tuple(tools),
        **more,
    )


def turn(spec: AgentSpec, *texts: str, summary: str = "") -> TextTurnJob:
    """Messages of a contact and an agent in turn, the contact's last."""
    session_id = SessionId(ids.mint(ids.SESSION))
    now = datetime.now(UTC)
    authors = ("contact", "agent")
    wrote = tuple(
        Wrote(seq=seq, author=authors[(seq - 1) % 2], text=text, at=now)  # type: ignore[arg-type]
        for seq, text in enumerate(texts, start=1)
    )
    plan = CallStart(
        call_id=CallId(session_id),
        project_id=PROJECT,
        epoch=1,
        agent_id=None,
        version_id=None,
        agent=spec,
        channel="chat",
        direction="inbound",
        from_number="visitor",
        to_number="",
        provider="chat",
        provider_call_id="",
        planned_at=now,
        secrets={"openai": "a-key"},
        own_vendors=("openai",),
        signing_secret="whsec_" + b64encode(b"a signing secret of this test").decode(),
    )
    return TextTurnJob(
        job_id=JobId(ids.mint(ids.JOB)),
        project_id=PROJECT,
        planned_at=now,
        session_id=session_id,
        plan=plan,
        wrote=wrote,
        summary=summary,
    )


class Rig:
    """A workshop on a bus in memory, and who follows its sessions."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.deltas: list[TextDelta] = []

        self.desk = Desk(
            bus=self.bus,
            blobs=MemoryStore(),
            open_secret=lambda sealed: sealed,
            egress_allow=("127.0.0.0/8",),
            mcp_programs={},
            now=lambda: datetime.now(UTC),
        )

    async def put(self, job: TextTurnJob) -> None:
        await self.bus.publish(subjects.job("text_turn"), encode(job), message_id=job.job_id)

    async def answer(self, job: TextTurnJob) -> Any:
        """Puts the job into the queue; what comes back."""
        await self.put(job)
        return await self.comes()

    async def comes(self) -> Any:
        async with asyncio.timeout(10):
            while (found := await self.bus.last(subjects.answers("text_turn"))) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await self.bus.purge(subjects.answers("text_turn"))
        return decode(found, TextTurnDone | JobFailed)  # type: ignore[arg-type]


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(workshop, "PAUSES_S", (0.01, 0.01))
    rig = Rig()
    await rig.bus.prepare(subjects.STREAMS)

    async def heard(_: str, data: bytes) -> None:
        rig.deltas.append(decode(data, TextDelta))

    await rig.bus.hear(f"{subjects.ROOT}.live.*.*", heard)
    shop = Workshop(rig.desk, 2, Counters(CollectorRegistry()).jobs)
    await shop.open()
    yield rig
    await shop.close(1.0)
    await rig.bus.close()


@asynccontextmanager
async def booking(status: int = 200) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """The user's server; its URL, and what it was asked."""
    asked: list[web.Request] = []

    async def book(request: web.Request) -> web.Response:
        await request.read()
        asked.append(request)
        return web.json_response({"id": 7}, status=status)

    app = web.Application()
    app.router.add_post("/book", book)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/book", asked  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


def said(fake: OpenAIFake, ask: int = -1) -> Sequence[dict[str, Any]]:
    messages: Sequence[dict[str, Any]] = fake.journal[ask].fields["messages"]
    return messages


@pytest.mark.proves(
    "agent.tools.send_link.name",
    "agent.tools.send_link.description",
    "agent.tools.send_link.url",
    "agent.tools.send_link.text",
)
async def test_a_link_is_sent_by_control(rig: Rig) -> None:
    """The model uses the tool as the agent describes it; the page and the words are the agent's, the contact and the
    session are control's, which may refuse, and the model learns why."""
    asked: list[LinkAsked] = []

    async def answers(data: bytes) -> bytes:
        asked.append(decode(data, LinkAsked))
        taken = len(asked) == 1
        return encode(ActReply(is_taken=taken, detail="" if taken else "the contact wants no SMS from this number"))

    await rig.bus.serve(subjects.act("link"), answers)
    page = "https://example.com/chat"
    link = SendLinkTool(name="text_link", description="Texts a link.", url=page, text="Go on with {{who}}:")
    use = Reply(calls=(Call(name="text_link", arguments={}),))
    replies = [use, Reply(text="Sent."), use, Reply(text="I may not.")]
    async with openai_fake(replies=replies) as fake:
        spec = replace(agent(fake), tools=(link,))
        job = turn(spec, "Send me a link")
        done = await rig.answer(job)
        refused = await rig.answer(turn(spec, "Again"))
        (tool,) = fake.journal[0].fields["tools"]
    assert (tool["function"]["name"], tool["function"]["description"]) == ("text_link", "Texts a link.")
    assert (asked[0].url, asked[0].text, asked[0].call_id) == (page, "Go on with the bakery:", job.session_id)
    assert asked[0].act_id.startswith(f"{job.session_id}.link.")
    assert [(used.tool, used.is_ok) for used in done.tools] == [("text_link", True)]
    assert (refused.text, refused.tools[0].is_ok) == ("I may not.", False)
    assert "wants no SMS" in str(refused.tools[0].output)


async def test_the_answer_streams_and_comes_whole(rig: Rig) -> None:
    """The model knows the prompt with its variables filled, what was said, and its words are told as they come."""
    async with openai_fake(replies=[Reply(text="We open at seven.")]) as fake:
        done = await rig.answer(turn(agent(fake), "Hello", "Hi!", "When do you open?"))
        asked = said(fake)
    assert isinstance(done, TextTurnDone)
    assert (done.text, done.through, done.is_ended) == ("We open at seven.", 3, False)
    assert [(message["role"], message["content"]) for message in asked] == [
        ("system", "You are the bakery."),
        ("user", "Hello"),
        ("assistant", "Hi!"),
        ("user", "When do you open?"),
    ]
    assert "".join(delta.text for delta in rig.deltas).strip() == "We open at seven."
    assert done.used[0].output_tokens > 0


async def test_tools_are_used_and_recorded_and_the_session_ends(rig: Rig) -> None:
    """What a tool answered goes to the model, which goes on; end_call ends the session behind its last words."""
    replies = [
        Reply(text="One moment.", calls=(Call(name="book", arguments={"day": "tuesday"}),)),
        Reply(text="Booked. Goodbye.", calls=(Call(name="end_call", arguments={}),)),
    ]
    async with booking() as (url, asked), openai_fake(replies=replies) as fake:
        done = await rig.answer(turn(agent(fake, tool_url=url), "Tuesday, please"))
        answered = [message for message in said(fake) if message["role"] == "tool"]
    assert isinstance(done, TextTurnDone)
    assert done.text == "One moment.\n\nBooked. Goodbye."
    assert done.is_ended
    assert [(used.tool, used.arguments, used.is_ok) for used in done.tools] == [
        ("book", {"day": "tuesday"}, True),
        ("end_call", {}, True),
    ]
    assert json.loads(answered[0]["content"]) == {"id": 7}
    assert asked[0].headers["Idempotency-Key"].startswith("call_")


async def test_a_turn_that_is_done_again_uses_a_tool_under_the_same_key(rig: Rig) -> None:
    """A worker that dies in the middle leaves the turn to another, and the user's server can tell the repeat."""
    replies = [Reply(calls=(Call(name="book", arguments={"day": "tuesday"}),)), Reply(text="Booked.")]
    async with booking() as (url, asked), openai_fake(replies=replies * 2) as fake:
        job = turn(agent(fake, tool_url=url), "Tuesday, please")
        for is_repeat in (False, True):
            await text_turn.run(job, rig.desk, Tally(is_repeat=is_repeat))
    first, again = (request.headers["Idempotency-Key"] for request in asked)
    assert first == again


async def test_another_model_answers_when_one_fails(rig: Rig) -> None:
    """And when none does, whoever asked is told."""
    async with openai_fake() as broken, openai_fake(replies=[Reply(text="Here.")]) as fake:
        broken.manners = Manners(fault="fail")
        done = await rig.answer(turn(agent(broken, fake), "Hello"))
        assert isinstance(done, TextTurnDone)
        assert done.text == "Here."
        fake.manners = Manners(fault="refuse_key")
        broken.manners = Manners(fault="refuse_key")
        failed = await rig.answer(turn(agent(broken, fake), "Hello"))
    assert isinstance(failed, JobFailed)


async def test_a_long_session_keeps_the_newest_and_a_summary(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is summarised together with the summary so far; the model is shown that and the newest."""
    monkeypatch.setattr(summary, "MOST_TOKENS", 40)
    monkeypatch.setattr(summary, "KEPT_TOKENS", 15)
    texts = [f"message {number} " + "word " * 4 for number in range(1, 10)]
    async with openai_fake(replies=[Reply(text="They spoke of bread."), Reply(text="Yes.")]) as fake:
        done = await rig.answer(turn(agent(fake), *texts, summary="Her name is Ada."))
        summarising, asked = said(fake, 0), said(fake, 1)
    assert isinstance(done, TextTurnDone)
    assert done.summary == "They spoke of bread."
    assert 0 < done.summarised_through < 9
    assert "Her name is Ada." in summarising[1]["content"]
    assert "message 1 " in summarising[1]["content"]
    assert "They spoke of bread." in asked[0]["content"]
    assert [message["content"] for message in asked[1:]] == texts[done.summarised_through :]
