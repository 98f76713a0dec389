"""What stands only in an uploaded document is answered: aloud on the telephone, in each mode, and in writing."""

import asyncio
import signal
from typing import Any

import httpx
import pytest

from turncall_phone.caller import AnyStep, Say, WaitForAgent, WaitForHangUp
from turncall_proto.agent import (
    AgentSpec,
    Cascade,
    EndCallTool,
    KnowledgeAuto,
    KnowledgePrompt,
    KnowledgeTool,
    Pipeline,
    SpeechToSpeech,
    VendorRef,
)
from turncall_proto.ids import AgentId
from turncall_testkit.house import House
from turncall_testkit.papers import pdf

HOURS = "The museum is open from ten until six."
TICKETS = "An adult pays eleven dollars at the gate."
PARKING = "Leave the car behind the old brewery."
ASKED = {
    "prompt": ("when is the museum open", HOURS),
    "auto": ("how much does an adult pay", TICKETS),
    "tool": ("where can I leave the car", PARKING),
}
SAYS = {"prompt": "{{known}}", "auto": "{{known}}", "tool": "{{result.passages.0.text}}"}
PAGES = 60


def script() -> dict[str, Any]:
    """A model that knows nothing but what it is told from documents."""
    intents: list[dict[str, Any]] = [
        {"name": mode, "hears": [question], "says": SAYS[mode]} for mode, (question, _) in ASKED.items()
    ]
    intents[2]["calls"] = {"tool": "query_knowledge", "arguments": {"question": ASKED["tool"][0]}}
    return {"intents": [*intents, {"name": "bye", "hears": ["goodbye"], "says": "Goodbye.", "then": "end_call"}]}


def guide(bases: dict[str, Any], pipeline: Pipeline) -> AgentSpec:
    """An agent with one link of each mode, to a base of its own."""
    return AgentSpec(
        pipeline=pipeline,
        first_message="Hello.",
        tools=(EndCallTool(),),
        knowledge=(
            KnowledgePrompt(base_id=bases["prompt"]),
            KnowledgeAuto(base_id=bases["auto"], top_k=1, within_ms=1500),
            KnowledgeTool(base_id=bases["tool"], description="Where things are.", top_k=1),
        ),
    )


def visit() -> list[AnyStep]:
    steps: list[AnyStep] = []
    for question, _ in ASKED.values():
        steps += [WaitForAgent(), Say(text=question)]
    return [*steps, WaitForAgent(), Say(text="goodbye"), WaitForHangUp()]


@pytest.fixture(scope="module")
async def bases(house: House) -> dict[str, Any]:
    """A base for each mode, each with one PDF; that of mode auto has more, read by two workers, one of which is killed
    in the middle of it."""
    helper = await house.installation.add_worker(extra={"TURNCALL_POOLS": "text", "TURNCALL_JOB_SLOTS": "2"})
    made = {mode: (await house.api.create_knowledge_base(mode)).id for mode in ASKED}
    documents = [
        (base, await house.api.upload_document(base, f"{mode}.pdf", pdf([ASKED[mode][1]])))
        for mode, base in made.items()
    ]
    for number in range(8):
        pages = [f"Chapter {page} of book {number}\nIt tells of paintings." for page in range(PAGES)]
        documents.append((made["auto"], await house.api.upload_document(made["auto"], f"book{number}.pdf", pdf(pages))))
    page = f"http://127.0.0.1:{house.installation.ports[helper]}/metrics"
    async with httpx.AsyncClient() as http, asyncio.timeout(60):
        while "jobs_running 0.0" in (await http.get(page)).text:  # noqa: ASYNC110 - another process says it
            await asyncio.sleep(0.01)
    helper.signal(signal.SIGKILL)
    async with asyncio.timeout(120):
        for base, document in documents:
            while (shown := await house.api.document(base, document.id)).is_being_read:  # noqa: ASYNC110 - a row's fact
                await asyncio.sleep(0.1)
            assert (shown.state, shown.reason) == ("ready", "")
            assert shown.passages == (1 if shown.name in {f"{mode}.pdf" for mode in ASKED} else PAGES)
            listed = await house.api.passages(base, document.id)
            assert [passage.passage for passage in listed.items] == list(range(min(50, shown.passages)))
    assert (await house.api.knowledge_base(made["auto"])).passages == 8 * PAGES + 1
    return made


def check(uses: Any, bases: dict[str, Any]) -> None:
    """The record names where each answer stands."""
    cited = {use.mode: use for use in uses if any(one.document == f"{use.mode}.pdf" for one in use.citations)}
    assert cited.keys() == ASKED.keys(), uses
    for mode, use in cited.items():
        (citation,) = [one for one in use.citations if one.document == f"{mode}.pdf"]
        assert (citation.base_id, citation.passage, citation.page) == (bases[mode], 0, 1)
        assert use.detail == ""


async def spoken(house: House, spec: AgentSpec, name: str, bases: dict[str, Any]) -> AgentId:
    """One telephone call with a question for each mode: what is heard, and what the record cites."""
    agent, number = await house.answering(spec, name=name)
    call = await house.dial(number, visit())
    await call.ended(timeout_s=150)
    view = await house.record_of(call)
    said = [one.text for one in (await house.api.transcript(view.id)).utterances if one.speaker == "agent"]
    assert said[1:4] == [HOURS, TICKETS, PARKING], name
    check((await house.api.call_knowledge(view.id)).knowledge, bases)
    return agent.id


async def test_answers_stand_only_in_documents_and_are_given(house: House, bases: dict[str, Any]) -> None:
    """On the telephone by a cascade, and by one model that hears and speaks; then by the first one in writing."""
    options = {"script": script()}
    local = VendorRef(vendor="local")
    cascade = Cascade(stt=local, llm=VendorRef(vendor="local", options=options), tts=local)
    speech = SpeechToSpeech(model=VendorRef(vendor="local", options=options))
    agent_id, _ = await asyncio.gather(
        spoken(house, guide(bases, cascade), "museum", bases),
        spoken(house, guide(bases, speech), "museum, speech", bases),
    )
    session = await house.api.create_session(agent_id, "visitor")
    uses = []
    for question, answer in ASKED.values():
        exchange = await house.api.write(session.id, question)
        assert exchange.reply is not None
        assert exchange.reply.text.strip() == answer
        uses += exchange.reply.knowledge
    check(uses, bases)
