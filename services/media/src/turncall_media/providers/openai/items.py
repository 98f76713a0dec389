"""What a session of OpenAI's Realtime API has been told of a conversation. Pure.

A session is told of everything once: what was said before it, and then what is added by others than its model and the
caller's voice. What the model said and heard itself it knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pipecat.processors.aggregators.async_tool_messages import parse_message

Item = dict[str, Any]
_UNFINISHED: Final = "IN_PROGRESS"
"""What stands for the answer of a tool that is at work (Pipecat's aggregator)."""


class Told:
    """What one session knows. Messages are OpenAI's, as Pipecat keeps them; they are told apart by identity."""

    def __init__(self) -> None:
        self._known: dict[int, Mapping[str, Any]] = {}
        self._calls: set[str] = set()  # known to the session
        self._unanswered: set[str] = set()  # those whose answer is still due
        self._has_history = False

    def called(self, call_id: str) -> None:
        """The model called a tool."""
        self._calls.add(call_id)
        self._unanswered.add(call_id)

    def news(self, messages: Sequence[Mapping[str, Any]]) -> list[Item]:
        """What the session is to be told of ``messages``: at first all but the instructions, then what is new."""
        items: list[Item] = []
        for message in messages[_instructions_end(messages) :]:
            if id(message) not in self._known:
                self._known[id(message)] = message
                items += self._told_first(message)
            items += self._answer(message)
        self._has_history = True
        return items

    def _told_first(self, message: Mapping[str, Any]) -> Iterable[Item]:
        role, text = message.get("role"), text_of(message)
        if role == "assistant":
            yield from (item for call in message.get("tool_calls") or () for item in self._call(call))
            if text and not self._has_history:  # afterwards it is what the model said itself
                yield _said("assistant", "output_text", text)
        elif role == "user" and text:
            yield _said("user", "input_text", text)
        elif role in ("system", "developer") and text and parse_message(message) is None:  # type: ignore[arg-type]
            yield _said("system", "input_text", text)

    def _call(self, call: Mapping[str, Any]) -> Iterable[Item]:
        if call["id"] in self._calls:
            return
        self.called(call["id"])
        function = call["function"]
        yield {
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
        }

    def _answer(self, message: Mapping[str, Any]) -> Iterable[Item]:
        late = parse_message(message)  # type: ignore[arg-type]
        if late is not None:
            call_id, answer = late.tool_call_id, late.result if late.kind == "final" else None
        elif message.get("role") == "tool":
            call_id, answer = str(message.get("tool_call_id")), text_of(message)
        else:
            return
        if answer is None or answer == _UNFINISHED or call_id not in self._unanswered:
            return
        self._unanswered.discard(call_id)
        yield {"type": "function_call_output", "call_id": call_id, "output": answer}


def instructions(messages: Sequence[Mapping[str, Any]]) -> str:
    """The system's words with which the conversation begins."""
    return "\n\n".join(text_of(message) for message in messages[: _instructions_end(messages)])


def text_of(message: Mapping[str, Any]) -> str:
    """The words of a message, given as text or in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))
    return content if isinstance(content, str) else ""


def _instructions_end(messages: Sequence[Mapping[str, Any]]) -> int:
    return next((place for place, message in enumerate(messages) if message.get("role") != "system"), len(messages))


def _said(role: str, kind: str, text: str) -> Item:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
