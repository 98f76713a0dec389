"""What a session is told of a conversation: everything once, and nothing that it knows by itself."""

from typing import Any

from pipecat.processors.aggregators import async_tool_messages

from turncall_media.providers.openai.realtime import item
from turncall_media.stages.told import Answered, Called, Said, Told, instructions

SYSTEM = {"role": "system", "content": "You sell tea."}


def call(call_id: str, name: str = "find") -> dict[str, Any]:
    function = {"name": name, "arguments": '{"day": 1}'}
    return {"role": "assistant", "tool_calls": [{"id": call_id, "function": function, "type": "function"}]}


def answer(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_a_new_session_is_told_all_but_the_instructions() -> None:
    """The words of both sides, and what was asked of functions and answered."""
    said: list[Any] = [SYSTEM, {"role": "user", "content": "Monday?"}, call("c1"), answer("c1", '{"free": true}')]
    said.append({"role": "assistant", "content": "It is free."})
    news = Told().news(said)
    assert news == [
        Said("user", "Monday?"),
        Called("c1", "find", '{"day": 1}'),
        Answered("c1", "find", '{"free": true}'),
        Said("assistant", "It is free."),
    ]
    assert [item(one)["type"] for one in news] == ["message", "function_call", "function_call_output", "message"]
    assert item(news[2])["output"] == '{"free": true}'
    assert instructions(said) == "You sell tea."


def test_what_the_model_said_and_heard_is_not_told_again() -> None:
    """Only what others add is, once; words that are filled in later are the model's own."""
    place: dict[str, Any] = {"role": "user", "content": ""}
    said: list[Any] = [SYSTEM, place]
    told = Told()
    assert told.news(said) == []
    place["content"] = "Hello?"
    said += [{"role": "assistant", "content": "Here I am."}, {"role": "user", "content": "DTMF: 1"}]
    assert told.news(said) == [Said("user", "DTMF: 1")]
    assert told.news(said) == []


def test_a_call_of_the_model_is_answered_once_and_when_it_is_done() -> None:
    """While a function is at work there is nothing to tell; an answer that is not waited for is told to nobody."""
    told = Told()
    told.news([SYSTEM])
    told.called("c1", "find")
    told.called("c2", "find")
    waiting = answer("c1", "IN_PROGRESS")
    said: list[Any] = [SYSTEM, call("c1"), waiting]
    assert told.news(said) == []
    waiting["content"] = '{"ok": true}'
    assert told.news(said) == [Answered("c1", "find", '{"ok": true}')]
    told.forgotten("c2")
    assert told.news([*said, answer("c2", "too late")]) == []


def test_an_answer_that_nobody_waited_for_is_the_answer_of_its_call() -> None:
    """A function that goes on by itself answers its call when it is done, whatever was said meanwhile."""
    told = Told()
    told.news([SYSTEM])
    told.called("c1", "find")
    said: list[Any] = [SYSTEM, call("c1"), async_tool_messages.build_started_message("c1")]
    assert told.news(said) == []
    said.append(async_tool_messages.build_final_result_message("c1", '{"ok": true}'))
    assert told.news(said) == [Answered("c1", "find", '{"ok": true}')]
