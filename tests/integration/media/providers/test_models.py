"""What Claude, Gemini and Bedrock's models are asked, over and above what every model is."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import LLMContextFrame, LLMFullResponseEndFrame
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.errors import VendorUnusable
from turncall_testkit.vendors import FAKES, Manners

BOOK = FunctionSchema(name="book_it", description="Books.", properties={"day": {"type": "string"}}, required=["day"])
VENDORS = ("anthropic", "aws", "google")


def asked() -> LLMContext:
    """A prompt, a question, a tool."""
    messages: list[Any] = [
        {"role": "system", "content": "You are on the phone."},
        {"role": "user", "content": "When do you open?"},
    ]
    return LLMContext(messages=messages, tools=ToolsSchema(standard_tools=[BOOK]))


async def request_of(bench: Callable[..., Any], vendor: str, **options: Any) -> Any:
    """The one request that the vendor's server got."""
    async with FAKES[vendor, "llm"]() as fake:
        async with bench("llm", vendor, {**fake.options("llm"), **options}, secret=None).running() as running:
            await running.send(LLMContextFrame(asked()))
            await running.first(LLMFullResponseEndFrame)
            assert running.errors == []
        (request,) = fake.journal
        return request


async def test_claude_is_asked_in_its_own_terms(bench: Callable[..., Any]) -> None:
    """Prompt apart from the messages and read once, one tool at a time, the options under their names."""
    request = await request_of(bench, "anthropic", model="m-1", temperature=0.5, max_tokens=77)
    fields = request.fields
    assert (fields["model"], fields["temperature"], fields["max_tokens"]) == ("m-1", 0.5, 77)
    assert fields["system"][0]["text"] == "You are on the phone."
    assert fields["system"][0]["cache_control"]["type"] == "ephemeral"
    assert fields["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert fields["tools"][0]["input_schema"]["required"] == ["day"]
    plain = (await request_of(bench, "anthropic", prompt_caching=False)).fields
    assert "cache_control" not in str(plain)
    assert "temperature" not in plain


async def test_gemini_is_asked_in_its_own_terms(bench: Callable[..., Any]) -> None:
    """The model in the path, the prompt as the system's instruction, the options under their names."""
    request = await request_of(bench, "google", model="m-1", temperature=0.5, max_tokens=77)
    assert request.name == "/v1/models/m-1:streamGenerateContent"
    assert request.fields["systemInstruction"]["parts"][0]["text"] == "You are on the phone."
    settings = request.fields["generationConfig"]
    assert (settings["temperature"], settings["maxOutputTokens"]) == (0.5, 77)
    assert request.fields["tools"][0]["functionDeclarations"][0]["name"] == "book_it"
    assert "temperature" not in (await request_of(bench, "google")).fields["generationConfig"]


async def test_bedrock_is_asked_in_its_own_terms(bench: Callable[..., Any]) -> None:
    """The model in the path, whatever its name holds, and a mark behind what can be read once."""
    request = await request_of(
        bench, "aws", model="arn:aws:bedrock:eu-west-1:1:p/m-1", temperature=0.5, max_tokens=77, prompt_caching=True
    )
    assert request.name == "/model/arn:aws:bedrock:eu-west-1:1:p/m-1/converse-stream"
    assert request.fields["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 77}
    assert request.fields["system"] == [{"text": "You are on the phone."}, {"cachePoint": {"type": "default"}}]
    assert request.fields["toolConfig"]["tools"][0]["toolSpec"]["name"] == "book_it"
    plain = (await request_of(bench, "aws")).fields
    assert "cachePoint" not in str(plain)
    assert "temperature" not in str(plain)


def test_bedrock_is_asked_where_the_region_says(build: Callable[..., Any]) -> None:
    """Each region has a server of its own."""
    service = build("llm", "aws", {"region": "eu-west-1"})
    assert service._aws_session._server == "https://bedrock-runtime.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_server_of_ones_own_gets_no_key(
    bench: Callable[..., Any], build: Callable[..., Any], vendor: str
) -> None:
    """It works without one; the vendor's own does not."""
    assert (await request_of(bench, vendor)).key == "none"
    with pytest.raises(VendorUnusable, match=vendor):
        build("llm", vendor, {}, secret=None)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_the_wall_stands_before_internal_addresses(bench: Callable[..., Any], vendor: str) -> None:
    """A base_url that leads to a network which the operator did not open is never connected to, and that is final."""
    async with FAKES[vendor, "llm"]() as fake:
        async with bench("llm", vendor, fake.options("llm"), egress_allow=()).running() as running:
            await running.send(LLMContextFrame(asked()))
            await running.error()
            assert not running.service.is_usable
        assert fake.journal == []


@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_error_within_an_answer_is_told_once(bench: Callable[..., Any], vendor: str) -> None:
    """An overloaded model says so in the middle of its answer: one error, which another try may mend."""
    async with FAKES[vendor, "llm"]() as fake:
        fake.manners = Manners(fault="break")
        async with bench("llm", vendor, fake.options("llm")).running() as running:
            await running.send(LLMContextFrame(asked()))
            await running.first(LLMFullResponseEndFrame)
            assert running.service.is_usable
            (error,) = running.errors
            assert not error.category.is_permanent


@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_answer_that_stops_in_its_middle_is_told(bench: Callable[..., Any], vendor: str) -> None:
    """A server that falls silent after its first words is a failure within the timeout, not a short answer."""
    async with FAKES[vendor, "llm"]() as fake:
        fake.manners = Manners(pace_s=1.0)
        async with bench("llm", vendor, fake.options("llm")).running() as running:
            await running.send(LLMContextFrame(asked()))
            error = await running.error()
            assert not error.category.is_permanent
