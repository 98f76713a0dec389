"""What a script answers to a conversation so far: pure functions of the messages, so any worker can go on with it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import replace
from pipecat.processors.aggregators.async_tool_messages import parse_message
from pipecat.processors.aggregators.llm_context import LLMStandardMessage

from turncall_media.providers.local.script import Intent, Script, Slot, Value
from turncall_media.providers.local.words import words

END_CALL: Final = "end_call"
KNOWN: Final = "{{known}}"
_PASSAGE: Final = re.compile(r"\[[^\n]+\]\n")
"""As `turncall_media.pipelines.knowing` writes them."""
_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+")
_PLACE: Final = re.compile(r"\{\{\s*([a-z0-9_.]+)\s*\}\}")

type Arguments = dict[str, str | int | float | bool]


class Call(Struct, frozen=True, kw_only=True):
    """A tool to be called."""

    tool: str
    arguments: Arguments = {}


class Reply(Struct, frozen=True, kw_only=True):
    """What the agent says, perhaps nothing, and what it does beside."""

    text: str = ""
    calls: tuple[Call, ...] = ()


class _State(Struct, frozen=True, kw_only=True):
    """Where the conversation stands after an utterance. ``chosen``: values by slot, of ``wish``. ``misses``: utterances
    in a row that were not understood."""

    wish: Intent | None = None
    chosen: Mapping[str, Value] = {}
    misses: int = 0
    reply: Reply = Reply()


def reply(script: Script, messages: Sequence[Mapping[str, Any]]) -> Reply:
    """The answer to a conversation in OpenAI's message form. Equal messages give an equal answer.

    After a caller's words: what the script says to them. After a tool's answer: what the script says to that, and
    nothing if the caller spoke since the call. Before any of that: the greeting.
    """
    state: _State | None = None
    result: tuple[str, str] | None = None
    tools: dict[str, str] = {}
    for message in messages:
        tools |= _called(message)
        role, text = message.get("role"), _text(message.get("content"))
        if role == "user" and text:
            state, result = _heard(script, state or _State(), text), None
        elif late := parse_message(cast(LLMStandardMessage, message)):  # of a tool that nobody waited for
            result = ("", "") if late.result is None else (tools.get(late.tool_call_id, ""), late.result)
        elif role == "tool":
            result = (tools.get(str(message.get("tool_call_id")), ""), text)
    if state is None:
        return Reply(text=script.greeting)
    answer = state.reply if result is None else _reported(script, state, *result)
    return replace(answer, text=answer.text.replace(KNOWN, known(messages))) if KNOWN in answer.text else answer


def known(messages: Sequence[Mapping[str, Any]]) -> str:
    """The sentence of what the agent was told from documents that shares most words with what the caller said last; of
    equals the first one, of what was told last. Empty when nothing was told."""
    said: frozenset[str] = frozenset()
    told: list[str] = []
    for message in messages:
        text = _text(message.get("content"))
        if message.get("role") == "user" and text:
            said = frozenset(words(text))
        elif message.get("role") == "system":
            passages = [part.partition("\n")[2] for part in text.split("\n\n") if _PASSAGE.match(part)]
            told = [sentence for passage in passages for sentence in _SENTENCES.split(passage)] + told
    return max(told, key=lambda sentence: len(said.intersection(words(sentence))), default="")


def _heard(script: Script, before: _State, text: str) -> _State:
    """After the caller's words: a new wish, an answer or a correction, whichever takes more of the words. A question
    between two answers is replied to, and then what was open is asked again."""
    said = words(text)
    wish, rest = _wish(script, said)
    wish_length = len(said) - len(rest)
    if before.wish is not None:
        found, length = _choices(before.wish, before.chosen, said)
        if found and length >= wish_length:
            return _act(script, before.wish, before.chosen, found)
    if wish is None:
        return _missed(script, before)
    found, _ = _choices(wish, {}, rest)
    if wish == before.wish:
        return _act(script, wish, before.chosen, found)
    asked = None if before.wish is None else _open(before.wish, before.chosen)
    if asked is not None and not wish.slots and wish.calls is None and wish.then == "listen":
        aside = Reply(text=_filled([wish.says, asked.ask], before.chosen))
        return replace(before, misses=0, reply=aside)
    return _act(script, wish, {}, found)


def _act(script: Script, wish: Intent, before: Mapping[str, Value], found: Mapping[str, Value]) -> _State:
    """Asks for what is still open, else does what is wished."""
    chosen = {**before, **found}
    slot = _open(wish, chosen)
    if slot is not None:
        answer = Reply(text=_filled([slot.ask], chosen))
    elif wish.calls is not None:
        is_change = any(name in before and before[name] != value for name, value in found.items())
        arguments = {name: _argument(value, chosen) for name, value in wish.calls.arguments.items()}
        answer = Reply(
            text=_filled([wish.corrects] if is_change else [], chosen),
            calls=(Call(tool=wish.calls.tool, arguments=arguments),),
        )
    else:
        answer = _dealt_with(script, wish, wish.says, chosen, {})
    return _State(wish=wish, chosen=chosen, reply=answer)


def _dealt_with(
    script: Script, wish: Intent, line: str, chosen: Mapping[str, Value], result: Mapping[str, Any]
) -> Reply:
    if wish.then == "end_call":
        return Reply(text=_filled([line], chosen, result), calls=(Call(tool=END_CALL),))
    return Reply(text=_filled([line, script.more], chosen, result))


def _missed(script: Script, before: _State) -> _State:
    slot = None if before.wish is None else _open(before.wish, before.chosen)
    line = (slot.reask or slot.ask) if slot else script.fallback[before.misses % len(script.fallback)]
    return replace(before, misses=before.misses + 1, reply=Reply(text=_filled([line], before.chosen)))


def _reported(script: Script, state: _State, tool: str, result: str) -> Reply:
    """After a tool's answer to the latest words. Nothing, unless it is the tool that these words called for."""
    wish = state.wish
    if wish is None or wish.calls is None or wish.calls.tool != tool:
        return Reply()
    answer = _parsed(result)
    if answer is None or "error" in answer:
        return Reply(text=_filled([wish.calls.fails, script.more], state.chosen))
    return _dealt_with(script, wish, wish.says, state.chosen, answer)


def _open(wish: Intent, chosen: Mapping[str, Value]) -> Slot | None:
    return next((slot for slot in wish.slots if slot.name not in chosen), None)


def _wish(script: Script, said: tuple[str, ...]) -> tuple[Intent | None, tuple[str, ...]]:
    """The intent whose longest phrase lies in the words, and the words around that phrase. The first of equals."""
    best: tuple[int, Intent, int] | None = None
    for intent in script.intents:
        for phrase in map(words, intent.hears):
            start = _find(said, phrase)
            if start is not None and (best is None or len(phrase) > best[0]):
                best = (len(phrase), intent, start)
    if best is None:
        return None, said
    length, intent, start = best
    return intent, said[:start] + said[start + length :]


def _choices(wish: Intent, chosen: Mapping[str, Value], said: tuple[str, ...]) -> tuple[dict[str, Value], int]:
    """Values named in the words, by slot, and how many words name them. The longest at each place; of equals, that of
    the slot which is open; the last one named for a slot stands ("not Tuesday, Wednesday")."""
    open_slot = _open(wish, chosen)
    slots = sorted(wish.slots, key=lambda slot: slot != open_slot)
    found: dict[str, Value] = {}
    place = used = 0
    while place < len(said):
        length, name, value = max(
            (
                (len(phrase), slot.name, value)
                for slot in slots
                for value in slot.values
                for phrase in map(words, value.hears)
                if phrase and said[place : place + len(phrase)] == phrase
            ),
            key=lambda one: one[0],
            default=(0, "", None),
        )
        if value is not None:
            found[name] = value
            used += length
        place += length or 1
    return found, used


def _find(said: tuple[str, ...], phrase: tuple[str, ...]) -> int | None:
    span = len(phrase)
    return next((i for i in range(len(said) - span + 1) if span and said[i : i + span] == phrase), None)


def _filled(lines: Iterable[str], chosen: Mapping[str, Value], result: Mapping[str, Any] | None = None) -> str:
    """The lines as one text with their places filled; a place that nobody filled is left out rather than spoken."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == "known":
            return KNOWN
        if name.startswith("result."):
            return _shown(_within(result or {}, name.removeprefix("result.").split(".")))
        value = chosen.get(name)
        return "" if value is None else value.says or value.value

    return " ".join(_PLACE.sub(fill, " ".join(lines)).split())


def _argument(value: str | int | float | bool, chosen: Mapping[str, Value]) -> str | int | float | bool:
    if not isinstance(value, str):
        return value
    return _PLACE.sub(lambda match: chosen[match.group(1)].value if match.group(1) in chosen else "", value)


def _within(value: object, path: Sequence[str]) -> object:
    """What lies in an answer under names and places in lists: ``passages``, ``0``, ``text``."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _shown(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _parsed(result: str) -> Mapping[str, Any] | None:
    """A tool's answer as an object; other JSON has no fields but is no failure, nor is Pipecat's word for an empty
    answer. None: anything else, such as its word for a call that was cancelled."""
    if result == "COMPLETED":
        return {}
    try:
        answer = json.loads(result)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else {}


def _called(message: Mapping[str, Any]) -> dict[str, str]:
    """The tools that an assistant's message calls, by the id of the call."""
    return {call["id"]: call["function"]["name"] for call in message.get("tool_calls") or ()}


def _text(content: object) -> str:
    """The words of a message, given as text or in parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def unknown_places(script: Script) -> tuple[str, ...]:
    """Names in ``{{…}}`` that nothing fills, as ``intent: name``, for an error message."""
    return tuple(
        f"{intent.name}: {name}"
        for intent in script.intents
        for name in sorted(_places(intent))
        if name not in {"known", *(slot.name for slot in intent.slots)}
        and not (name.startswith("result.") and intent.calls is not None)
    )


def _places(intent: Intent) -> set[str]:
    lines = [intent.says, intent.corrects]
    lines += [line for slot in intent.slots for line in (slot.ask, slot.reask)]
    if intent.calls is not None:
        lines += [intent.calls.fails, *(str(value) for value in intent.calls.arguments.values())]
    return {name for line in lines for name in _PLACE.findall(line)}
