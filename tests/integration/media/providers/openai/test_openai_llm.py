"""A model behind OpenAI's protocol: words, tools, and what goes wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import FunctionCallInProgressFrame, LLMContextFrame, LLMFullResponseEndFrame, LLMTextFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams

from turncall_media.errors import VendorUnusable
from turncall_testkit.vendors import Call, Manners, Reply, openai_fake


def asking(**context: Any) -> LLMContextFrame:
    """A caller's question."""
    return LLMContextFrame(LLMContext(messages=[{"role": "user", "content": "A table for two"}], **context))


async def test_words_arrive_as_they_are_made(bench: Callable[..., Any]) -> None:
    """The reply comes out in pieces, whole in the end."""
    async with (
        openai_fake(replies=[Reply(text="Hello there. How can I help?")]) as fake,
        bench("llm", "openai", fake.options("llm")).running() as running,
    ):
        await running.send(asking())
        await running.first(LLMFullResponseEndFrame)
        pieces = [frame.text for frame in running.got(LLMTextFrame)]
    assert len(pieces) > 1
    assert "".join(pieces) == "Hello there. How can I help?"
    assert running.errors == []


async def test_options_reach_the_server(bench: Callable[..., Any]) -> None:
    """Model, temperature and length are what the agent says; the key is sent as a bearer."""
    async with openai_fake() as fake:
        options = {**fake.options("llm"), "model": "small-1", "temperature": 0.25, "max_tokens": 80}
        async with bench("llm", "openai", options).running() as running:
            await running.send(asking())
            await running.first(LLMFullResponseEndFrame)
    (asked,) = fake.journal
    assert asked.key == "key-1"
    assert {name: asked.fields[name] for name in ("model", "temperature", "max_tokens")} == {
        "model": "small-1",
        "temperature": 0.25,
        "max_tokens": 80,
    }


async def test_a_key_is_not_looked_for_in_the_environment(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compatible server never sees the key or the organisation that this machine happens to hold."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-machine")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-machine")
    async with openai_fake() as fake, bench("llm", "openai", fake.options("llm"), secret=None).running() as running:
        await running.send(asking())
        await running.first(LLMFullResponseEndFrame)
    assert fake.journal[0].key == "none"
    assert running.service._ours.organization is None


async def test_a_tool_call_reaches_its_handler_whole(bench: Callable[..., Any]) -> None:
    """Arguments that come in small pieces are handed over as one object, for each of two calls."""
    calls = (
        Call(name="book_table", arguments={"people": 2, "name": "Ána"}),
        Call(name="book_table", arguments={"people": 3, "name": "Bo"}),
    )
    handled: list[dict[str, Any]] = []

    async def book_table(params: FunctionCallParams, people: int, name: str) -> None:
        """Books a table.

        Args:
            people: How many.
            name: Whose.
        """
        handled.append(dict(params.arguments))
        await params.result_callback({"booked": True})

    async with (
        openai_fake(replies=[Reply(text="One moment.", calls=calls), Reply(text="Done.")]) as fake,
        bench("llm", "openai", fake.options("llm")).running() as running,
    ):
        await running.send(asking(tools=ToolsSchema(standard_tools=[book_table])))
        await running.until(lambda: len(handled) == 2)
        await running.first(FunctionCallInProgressFrame)
    assert sorted(handled, key=lambda arguments: arguments["people"]) == [dict(call.arguments) for call in calls]
    assert fake.journal[0].fields["tools"][0]["function"]["name"] == "book_table"


async def test_a_refused_key_is_final(bench: Callable[..., Any]) -> None:
    """After a 401 the model is not asked again in this call."""
    async with (
        openai_fake(key="the-right-one") as fake,
        bench("llm", "openai", fake.options("llm")).running() as running,
    ):
        await running.send(asking())
        error = await running.error(2)
        assert error.category.is_permanent
        assert not running.service.is_usable
    assert len(fake.journal) == 1


@pytest.mark.parametrize("fault", ["fail", "stall", "break", "cut"])
async def test_a_failure_is_told_once_and_in_time(bench: Callable[..., Any], fault: Any) -> None:
    """A server that fails, stalls, breaks off or goes away gives one error, after which the model works again."""
    async with openai_fake() as fake, bench("llm", "openai", fake.options("llm")).running() as running:
        fake.manners = Manners(fault=fault)
        await running.send(asking())
        await running.error(2)
        await running.first(LLMFullResponseEndFrame)
        assert len(running.errors) == 1
        assert running.service.is_usable
        fake.manners = Manners()
        await running.send(asking())
        await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == 2)
        assert len(running.errors) == 1


async def test_the_wall_stands_before_internal_addresses(bench: Callable[..., Any]) -> None:
    """A base_url that leads to a network which the operator did not open is never connected to, and that is final."""
    async with (
        openai_fake() as fake,
        bench("llm", "openai", fake.options("llm"), egress_allow=()).running() as running,
    ):
        await running.send(asking())
        error = await running.error(2)
        assert error.category.is_permanent
    assert fake.journal == []


async def test_connections_end_with_the_pipeline(bench: Callable[..., Any]) -> None:
    """The client is closed when the call is over."""
    async with openai_fake() as fake, bench("llm", "openai", fake.options("llm")).running() as running:
        await running.send(asking())
        await running.first(LLMFullResponseEndFrame)
        assert not running.service._ours.is_closed()
    assert running.service._ours.is_closed()


def test_without_key_and_server_there_is_no_model(build: Callable[..., Any]) -> None:
    """OpenAI's own servers need a key."""
    with pytest.raises(VendorUnusable, match="needs a key"):
        build("llm", "openai", {}, secret=None)


def test_a_url_with_a_password_is_refused(build: Callable[..., Any]) -> None:
    """What the wall says about a URL's form is said before the call."""
    with pytest.raises(VendorUnusable, match="credentials"):
        build("llm", "openai", {"base_url": "http://me:secret@example.com/v1", "model": "m"})
