"""What a session of a model that hears and speaks has been told of a conversation. Pure.

A session is told of everything once: what was said before it, and then what is added by others than its model and the
caller's voice. What the model said and heard itself it knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from pipecat.processors.aggregators.async_tool_messages import parse_message

_UNFINISHED: Final = "IN_PROGRESS"
"""What stands for the answer of a tool that is at work (Pipecat's aggregator)."""


class Said(Struct, frozen=True):
    """Somebody's words."""

    role: Literal["user", "assistant", "system"]
    text: str


class Called(Struct, frozen=True):
    """The model used a tool; ``arguments`` are JSON."""

    call_id: str
    name: str
    arguments: str


class Answered(Struct, frozen=True):
    """The tool's answer."""

    call_id: str
    name: str
    answer: str


News = Said | Called | Answered


class Told:
    """What one session knows. Messages are OpenAI's, as Pipecat keeps them; they are told apart by identity."""

    def __init__(self) -> None:
        self._known: dict[int, Mapping[str, Any]] = {}
        self._calls: set[str] = set()  # known to the session
        self._unanswered: dict[str, str] = {}  # those whose answer is still due, and the names of their tools
        self._has_history = False

    def called(self, call_id: str, name: str) -> None:
        """The model called a tool."""
        self._calls.add(call_id)
        self._unanswered[call_id] = name

    def forgotten(self, call_id: str) -> None:
        """The model does not wait for that answer any more."""
        self._unanswered.pop(call_id, None)

    def news(self, messages: Sequence[Mapping[str, Any]]) -> list[News]:
        """What the session is to be told of ``messages``: at first all but the instructions, then what is new."""
        told: list[News] = []
        for message in messages[_instructions_end(messages) :]:
            if id(message) not in self._known:
                self._known[id(message)] = message
                told += self._told_first(message)
            told += self._answer(message)
        self._has_history = True
        return told

    def _told_first(self, message: Mapping[str, Any]) -> Iterable[News]:
        role, text = message.get("role"), text_of(message)
        if role == "assistant":
            yield from (called for call in message.get("tool_calls") or () for called in self._call(call))
            if text and not self._has_history:  # afterwards it is what the model said itself
                yield Said("assistant", text)
        elif role == "user" and text:
            yield Said("user", text)
        elif role in ("system", "developer") and text and parse_message(message) is None:  # type: ignore[arg-type]
            yield Said("system", text)

    def _call(self, call: Mapping[str, Any]) -> Iterable[News]:
        if call["id"] in self._calls:
            return
        function = call["function"]
        self.called(call["id"], function["name"])
        yield Called(call["id"], function["name"], function["arguments"])

    def _answer(self, message: Mapping[str, Any]) -> Iterable[News]:
        late = parse_message(message)  # type: ignore[arg-type]
        if late is not None:
            call_id, answer = late.tool_call_id, late.result if late.kind == "final" else None
        elif message.get("role") == "tool":
            call_id, answer = str(message.get("tool_call_id")), text_of(message)
        else:
            return
        if answer is None or answer == _UNFINISHED or call_id not in self._unanswered:
            return
        yield Answered(call_id, self._unanswered.pop(call_id), answer)


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
