"""Tools as functions of the model."""

from types import SimpleNamespace
from typing import Any

import pytest

from turncall_media.pipelines import toolbox
from turncall_media.tools.shape import function
from turncall_proto.agent import WebhookTool

TOOL = WebhookTool(name="book", description="Books.", url="http://127.0.0.1:9/", parameters={"type": "object"})


class Untouched:
    """Whatever is asked of it fails the test."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"{name} was used after the conversation had ended")


async def test_a_tool_is_not_used_once_the_conversation_is_over() -> None:
    """A worker that stood still would use it on words that another worker has acted on since."""
    handlers: dict[str, Any] = {}
    llm: Any = SimpleNamespace(register_function=lambda name, handler, **_: handlers.setdefault(name, handler))
    nobody: Any = Untouched()
    shared = toolbox.Shared(
        reach=nobody,
        narrator=nobody,
        speech=nobody,
        allowance=nobody,
        is_over=lambda: True,
        repeated=frozenset(),
        way_out="",
    )
    toolbox.register([function(TOOL)], llm, shared)
    await handlers["book"](SimpleNamespace(tool_call_id="t", arguments={}, result_callback=nobody))
