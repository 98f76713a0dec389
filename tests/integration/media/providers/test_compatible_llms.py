"""What Groq, OpenRouter and Ollama are asked, over and above what every model is."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import LLMContextFrame, LLMFullResponseEndFrame
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.errors import VendorUnusable
from turncall_testkit.vendors import openai_fake

ASKED = LLMContext(messages=[{"role": "user", "content": "When do you open?"}])


async def fields_of(bench: Callable[..., Any], vendor: str, **options: Any) -> tuple[dict[str, Any], str]:
    """The body of one request, and the key that came with it."""
    async with openai_fake() as fake:
        line = bench("llm", vendor, {**fake.options("llm"), **options}, secret=None)
        async with line.running() as running:
            await running.send(LLMContextFrame(ASKED))
            await running.first(LLMFullResponseEndFrame)
        return dict(fake.journal[0].fields), fake.journal[0].key


@pytest.mark.parametrize(
    ("vendor", "limit"), [("groq", "max_completion_tokens"), ("openrouter", "max_tokens"), ("ollama", "max_tokens")]
)
async def test_options_reach_the_server(bench: Callable[..., Any], vendor: str, limit: str) -> None:
    """Under the names that this server knows; what is not set is not sent."""
    asked, key = await fields_of(bench, vendor, model="m-1", temperature=0.5, max_tokens=77)
    assert (asked["model"], asked["temperature"], asked[limit]) == ("m-1", 0.5, 77)
    assert key == "none", "a server of the user's own never gets a key of the installation"
    asked, _ = await fields_of(bench, vendor, model="m-1")
    assert not {"temperature", limit, "models"} & asked.keys()


async def test_openrouter_is_told_the_models_to_fall_back_on(bench: Callable[..., Any]) -> None:
    """In their order, the first one included, as its API takes them."""
    asked, _ = await fields_of(bench, "openrouter", model="a/one", fallback_models=["b/two", "c/three"])
    assert asked["models"] == ["a/one", "b/two", "c/three"]


@pytest.mark.parametrize(
    ("vendor", "host"), [("groq", "https://api.groq.com/openai/v1/"), ("openrouter", "https://openrouter.ai/api/v1/")]
)
async def test_the_vendors_own_server_needs_its_key(build: Callable[..., Any], vendor: str, host: str) -> None:
    """With the key the vendor's own address is asked; without, there is nothing to ask it with."""
    service = build("llm", vendor, {})
    assert (str(service._ours.base_url), service._ours.api_key) == (host, "key-1")
    await service._ours.close()
    with pytest.raises(VendorUnusable, match=vendor):
        build("llm", vendor, {}, secret=None)


async def test_ollama_on_a_closed_network_is_refused(bench: Callable[..., Any]) -> None:
    """Loopback is behind the wall until the operator opens it."""
    async with bench("llm", "ollama", {"model": "m-1"}, egress_allow=()).running() as running:
        await running.send(LLMContextFrame(ASKED))
        await running.error()
        assert not running.service.is_usable
