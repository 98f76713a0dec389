"""What an agent knows: told with its prompt, before each reply, or on demand; stated with where it stands."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.pipelines import knowing
from turncall_media.pipelines.knowing import Recall, functions, informed
from turncall_media.report.events import Told
from turncall_media.tools.shape import Invocation, ToolFailed
from turncall_proto import template
from turncall_proto.agent import AgentSpec, Cascade, KnowledgeAuto, KnowledgePrompt, KnowledgeTool, VendorRef
from turncall_proto.call import CallStart
from turncall_proto.ids import DocumentId, KnowledgeBaseId, ProjectId
from turncall_proto.knowledge import Citation, KnowledgeAnswered, Passage, Source

BASE = KnowledgeBaseId("kb_" + "1" * 32)
LOCAL = VendorRef(vendor="local")
PASSAGE = Passage(
    citation=Citation(
        base_id=BASE, document_id=DocumentId("doc_" + "2" * 32), document="manual.pdf", passage=3, heading="Warranty"
    ),
    text="It lasts three years.",
)


class Shelf:
    """A library that answers everything with one passage, and remembers what it was asked."""

    def __init__(self, answer: KnowledgeAnswered | None = None) -> None:
        self.answer = answer or KnowledgeAnswered(passages=(PASSAGE,))
        self.asked: list[tuple[str, tuple[Source, ...], float]] = []
        self.wanted: list[Mapping[KnowledgeBaseId, int]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def search(self, question: str, sources: tuple[Source, ...], within_s: float) -> KnowledgeAnswered:
        self.asked.append((question, sources, within_s))
        await self.is_open.wait()
        return self.answer

    async def whole(self, at_most: Mapping[KnowledgeBaseId, int], within_s: float) -> KnowledgeAnswered:
        self.wanted.append(at_most)
        return self.answer


class Notes:
    """What was written down."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def informed(self, told: Told) -> None:
        self.told.append(told)


def agent(*links: Any) -> AgentSpec:
    return AgentSpec(pipeline=Cascade(stt=LOCAL, llm=LOCAL, tts=LOCAL), prompt="Be brief.", knowledge=links)


def a_plan(spec: AgentSpec) -> CallStart:
    from datetime import UTC, datetime

    return CallStart(
        call_id="call_" + "0" * 32,  # type: ignore[arg-type]
        project_id=ProjectId("prj_" + "0" * 32),
        epoch=1,
        agent_id=None,
        version_id=None,
        agent=spec,
        channel="phone",
        direction="inbound",
        from_number="+15550100001",
        to_number="+15550100002",
        provider="twilio",
        provider_call_id="CA1",
        planned_at=datetime.now(UTC),
        knowledge_context="The caller is Ada.",
    )


def recall(shelf: Shelf, context: LLMContext, *links: KnowledgeAuto, is_kept: bool = False) -> tuple[Recall, Notes]:
    notes = Notes()
    clock_s = asyncio.get_running_loop().time
    return Recall(links or (KnowledgeAuto(base_id=BASE),), shelf, notes, context, clock_s, is_kept=is_kept), notes


def user(text: str) -> Any:
    return {"role": "user", "content": text}


@pytest.mark.proves("agent.knowledge.prompt.base_id", "agent.knowledge.prompt.max_characters")
async def test_a_whole_base_stands_behind_the_prompt() -> None:
    """With its places, and behind words that say what it is; one that is too large is left out, and said to be."""
    shelf = Shelf()
    clock_s = asyncio.get_running_loop().time
    plan, told = await informed(a_plan(agent(KnowledgePrompt(base_id=BASE, max_characters=700))), shelf, clock_s)
    prompt = template.rendered(plan).agent.prompt
    assert prompt.startswith("Be brief.\n\nThe caller is Ada.\n\nWhat the documents say.")
    assert prompt.endswith("[manual.pdf > Warranty]\nIt lasts three years.")
    assert shelf.wanted == [{BASE: 700}]
    assert told is not None
    assert (told.mode, told.citations) == ("prompt", (PASSAGE.citation,))

    shelf.answer = KnowledgeAnswered(detail="Manuals holds 900 characters")
    plan, told = await informed(a_plan(agent(KnowledgePrompt(base_id=BASE))), shelf, clock_s)
    assert plan.knowledge_context == "The caller is Ada."
    assert told is not None
    assert told.detail == "Manuals holds 900 characters"
    without = a_plan(agent())
    assert await informed(without, shelf, clock_s) == (without, None)


@pytest.mark.proves(
    "agent.knowledge.auto.base_id",
    "agent.knowledge.auto.top_k",
    "agent.knowledge.auto.min_similarity",
    "agent.knowledge.auto.within_ms",
)
async def test_each_reply_is_told_what_fits_it() -> None:
    """Before the caller's words, in place of what the last reply was told, once for each turn."""
    context = LLMContext([{"role": "system", "content": "Be brief."}, user("How long is the warranty on it?")])
    shelf = Shelf()
    link = KnowledgeAuto(base_id=BASE, top_k=2, min_similarity=0.5, within_ms=300)
    remembering, notes = recall(shelf, context, link)
    await remembering.tell()
    await remembering.tell()
    source = Source(base_id=BASE, top_k=2, min_similarity=0.5)
    assert shelf.asked == [("How long is the warranty on it?", (source,), 0.3)]
    roles = [message["role"] for message in context.get_messages()]
    assert roles == ["system", "system", "user"]
    assert "three years" in str(context.get_messages()[1])
    context.add_message({"role": "assistant", "content": "Three years."})
    context.add_message(user("And on Sundays?"))
    await remembering.tell()
    assert shelf.asked[-1][0] == "How long is the warranty on it? And on Sundays?"
    assert [message["role"] for message in context.get_messages()] == ["system", "user", "assistant", "system", "user"]
    assert [one.mode for one in notes.told] == ["auto", "auto"]

    kept = LLMContext([user("How long is the warranty on it?")])
    hearing, _ = recall(Shelf(), kept, is_kept=True)
    await hearing.tell()
    assert [message["role"] for message in kept.get_messages()] == ["user", "system"]


async def test_what_the_caller_is_still_saying_is_looked_up_already() -> None:
    """The search begins with the first words that are final; the reply waits only for what is new to it."""
    context, shelf = LLMContext(), Shelf()
    remembering, notes = recall(shelf, context)
    remembering.heard("How long does")
    await asyncio.sleep(0)
    remembering.heard("the warranty last?")
    while not shelf.asked or shelf.asked[-1][0] != "How long does the warranty last?":  # noqa: ASYNC110 - its own task
        await asyncio.sleep(0)
    context.add_message(user("How long does the warranty last?"))
    asked = len(shelf.asked)
    await remembering.tell()
    assert len(shelf.asked) == asked
    assert notes.told[0].citations == (PASSAGE.citation,)

    shelf.is_open.clear()
    remembering.heard("Something else that nobody")
    await asyncio.sleep(0)
    context.add_message(user("something quite different, is it not?"))
    telling = asyncio.create_task(remembering.tell())
    while shelf.asked[-1][0] != "something quite different, is it not?":  # noqa: ASYNC110 - its own task
        await asyncio.sleep(0)
    telling.cancel()
    remembering.close()
    await asyncio.wait({telling})
    left = [task for task in asyncio.all_tasks() if task.get_name() == "knowledge"]
    await asyncio.sleep(0)
    assert all(task.done() or task.cancelling() for task in left)


@pytest.mark.proves(
    "agent.knowledge.tool.base_id",
    "agent.knowledge.tool.name",
    "agent.knowledge.tool.description",
    "agent.knowledge.tool.top_k",
    "agent.knowledge.tool.min_similarity",
)
async def test_the_model_looks_things_up_in_its_own_words() -> None:
    """Under the link's name and description; nothing found and nobody there are answers that it can speak about."""
    shelf, notes = Shelf(), Notes()
    link = KnowledgeTool(base_id=BASE, name="manuals", description="What manuals say.", top_k=1, min_similarity=0.9)
    (made,) = functions(agent(link), shelf, notes, asyncio.get_running_loop().time)
    assert (made.name, made.description) == ("manuals", "What manuals say.")
    invocation = Invocation(tool_call_id="c1", arguments={"question": "Guarantee?"}, reach=None)  # type: ignore[arg-type]
    answer = await made.run(invocation)
    assert answer["passages"][0] == {"text": PASSAGE.text, "document": "manual.pdf", "heading": "Warranty"}
    assert shelf.asked[0][:2] == ("Guarantee?", (Source(base_id=BASE, top_k=1, min_similarity=0.9),))
    assert (notes.told[0].tool_call_id, notes.told[0].question) == ("c1", "Guarantee?")
    for detail, said in (("", knowing._NOTHING), ("nobody answered", knowing._AWAY)):
        shelf.answer = KnowledgeAnswered(detail=detail)
        with pytest.raises(ToolFailed, match=said.split()[2]):
            await made.run(invocation)
    assert notes.told[-1].detail == "nobody answered"
