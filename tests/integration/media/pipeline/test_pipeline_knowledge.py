"""What an agent knows from documents, in a conversation: looked up while the caller still speaks, or by the model."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from turncall_proto.agent import KnowledgeAuto, KnowledgeTool
from turncall_proto.events import KnowledgeRetrieved, ToolReturned
from turncall_proto.ids import DocumentId, KnowledgeBaseId
from turncall_proto.knowledge import Citation, KnowledgeAnswered, Passage, Source

from .both import BOTH

BASE = KnowledgeBaseId("kb_" + "1" * 32)


class Shelf:
    """A library that takes its time: `search_s` for each question, of which it says what it was asked."""

    def __init__(self, search_s: float) -> None:
        self.search_s = search_s
        self.asked: list[str] = []

    async def search(self, question: str, sources: tuple[Source, ...], within_s: float) -> KnowledgeAnswered:
        self.asked.append(question)
        if self.search_s > within_s:
            await asyncio.sleep(within_s)
            return KnowledgeAnswered(detail="nobody answered")
        await asyncio.sleep(self.search_s)
        citation = Citation(base_id=BASE, document_id=DocumentId("doc_" + "2" * 32), document="a.pdf", passage=7)
        return KnowledgeAnswered(passages=(Passage(citation=citation, text=f"About {question}"),))

    async def whole(self, at_most: Any, within_s: float) -> KnowledgeAnswered:
        raise AssertionError("nobody has asked for that")


def known_to_the_model(context: list[dict[str, Any]]) -> list[str]:
    return [
        message["content"].rpartition("\n")[2]
        for message in context
        if message["role"] == "system" and "About" in message["content"]
    ]


@BOTH
def test_each_reply_knows_what_was_looked_up_for_it(stage: Any) -> None:
    """The passage is in the model's context when it answers, and cited. A cascade had it before the turn was over; a
    reply whose passages do not come in time is given without them, which is said."""
    questions = ["How long is the warranty on it?", "What does it cost to send it back?"]
    stage.script.caller = [*questions, "And now something quite different please."]
    stage.script.replies = ["Three years.", "Nothing.", "I do not know."]
    stage.script.words_s = 0.1
    shelf = Shelf(0.3)
    agent = replace(stage.an_agent(), knowledge=(KnowledgeAuto(base_id=BASE, within_ms=700),))

    async def act(scene: Any) -> None:
        for count in (2, 4, 6):
            shelf.search_s = 0.3 if count < 6 else 3.0
            await scene.carrier.speak(0.6)
            await scene.carrier.until(lambda count=count: len(scene.transcript()) == count)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act, library=shelf)
    assert [text for speaker, text in scene.transcript() if speaker == "agent"] == [
        "Three years.",
        "Nothing.",
        "I do not know.",
    ]
    first, second, third = scene.facts.of(KnowledgeRetrieved)
    assert [fact.question for fact in (first, second)] == questions
    assert [one.passage for one in first.citations] == [7]
    assert (first.mode, first.turn, second.turn) == ("auto", 1, 2)
    assert first.latency_ms == pytest.approx(300, abs=20)
    assert (third.citations, third.detail) == ((), "nobody answered")
    assert known_to_the_model(stage.script.contexts[0]) == [f"About {questions[0]}"]
    if stage.pipeline == "cascade":
        assert first.waited_ms < 50
        assert known_to_the_model(stage.script.contexts[1]) == [f"About {questions[1]}"]
        assert known_to_the_model(stage.script.contexts[2]) == []
    assert shelf.asked[:2] == questions


@BOTH
def test_a_caller_who_goes_on_is_answered_once(stage: Any) -> None:
    """Speech into the wait for the documents calls that reply off, and the next one knows what was said then."""
    stage.script.caller = ["How long is the warranty on it?", "I mean, for the other machine that we have."]
    stage.script.replies = ["Five years.", "Five years."]
    shelf = Shelf(1.4)
    agent = replace(stage.an_agent(), knowledge=(KnowledgeAuto(base_id=BASE, within_ms=1500),))

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(shelf.asked) == 1)
        await asyncio.sleep(0.75)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "Five years.")])
        scene.carrier.hang_up()
        await scene.outcome()

    stage.play(agent, act, library=shelf)
    assert len(stage.script.contexts) == 1
    assert "other machine" in known_to_the_model(stage.script.contexts[0])[-1]


@BOTH
def test_the_model_looks_up_what_it_needs(stage: Any) -> None:
    """Beside the agent's other tools; the record holds the use of the tool and the citation, under one id."""
    stage.script.caller = ["How long is the warranty?"]
    stage.script.replies = [stage.call("manuals", {"question": "warranty"}), "Three years."]
    agent = replace(stage.an_agent(), knowledge=(KnowledgeTool(base_id=BASE, name="manuals", description="Manuals."),))

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "Three years.")])
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act, library=Shelf(0.1))
    assert stage.script.tools[0] == ["Manuals."]
    (returned,) = scene.facts.of(ToolReturned)
    assert returned.output["passages"][0]["text"] == "About warranty"
    (fact,) = scene.facts.of(KnowledgeRetrieved)
    assert (fact.mode, fact.tool_call_id, fact.question) == ("tool", returned.tool_call_id, "warranty")
