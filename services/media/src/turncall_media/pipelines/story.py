"""What a call's facts so far mean for the worker that goes on with it. Pure: the same facts give the same continuation.

Facts are those of earlier epochs, whoever served them. A worker that was killed stated nothing about its end; one that
lost its socket, or handed the call over, still said what had been heard by then.
"""

from collections.abc import Iterable, Sequence, Set
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, json
from msgspec.structs import replace

from turncall_proto.events import (
    CallAnswered,
    CallHandoff,
    CallStarted,
    CommandDone,
    ContextInjected,
    DtmfReceived,
    EpochOpened,
    Event,
    RecordingChanged,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    UtteranceBegun,
)

Message = dict[str, Any]
"""One message of a conversation in OpenAI's form, as Pipecat keeps it."""

KEYPAD_PREFIX: Final = "DTMF: "
"""What keys look like once they are the caller's words (Pipecat's `DTMFAggregator`)."""
INTERRUPTED: Final = {"error": "The caller interrupted it."}
_UNSENT_KEYS: Final = frozenset("ABCD")


class Pending(Struct, frozen=True, kw_only=True):
    """A tool that was called and has not answered; it is called again under the same id."""

    tool_call_id: str
    tool: str
    arguments: dict[str, Any]


class Continuation(Struct, frozen=True, kw_only=True):
    """Where a call stands and what its next worker does first.

    ``messages`` is what was said and done, without the prompt. ``greet``: nobody has spoken
    yet, or another agent has the call since. ``ask_again``: the
    caller was cut off. ``say``: the sentence of the agent that was cut, and what was to follow it. ``keys``: pressed,
    and not yet taken for the caller's words. ``run_model``: the caller, or a tool, waits for a reply. ``turn`` is the
    number of the last turn, ``answered_at`` the moment from which the call's length counts. ``is_muted``: a person has
    silenced the agent. ``has_consented``: what the caller said to a recording, None while they were not asked.
    """

    messages: tuple[Message, ...] = ()
    greet: bool = False
    ask_again: bool = False
    say: str = ""
    keys: str = ""
    repeat_tools: tuple[Pending, ...] = ()
    run_model: bool = False
    turn: int = 0
    answered_at: datetime | None = None
    is_muted: bool = False
    has_consented: bool | None = None
    is_recording_paused: bool = False

    @property
    def is_listening(self) -> bool:
        """Whether it is the caller's turn, and there is nothing to do but to listen."""
        acts = (self.greet, self.ask_again, self.say, self.keys, self.repeat_tools, self.run_model)
        return not any(acts)


UNKNOWN: Final = Continuation(ask_again=True)
"""The facts cannot be read: the caller is asked to say it again, which is the shortest way back into a conversation."""


UNHEARD_S: Final = 1.5
"""A caller whose turn it is will have answered within so long, and nobody heard it."""


def unheard(story: Continuation, for_s: float) -> Continuation:
    """The story when nobody has listened for so long. Somebody whose answer was lost waits for a reply, and would wait
    on beside an agent who waits for an answer; so they are asked to say it again."""
    return replace(story, ask_again=True) if story.is_listening and for_s >= UNHEARD_S else story


def continuation(facts: Iterable[Event], ends_reply: Set[str], survives: Set[str] = frozenset()) -> Continuation:
    """What the facts mean, in any order and doubled or not. ``ends_reply`` names tools after whose answer the model
    does not go on: one that succeeded meant the end of the call, and the call is still there, so it is done again.
    ``survives`` names those that no interruption cancels, and that the conversation does not wait for."""
    reader = _Reader(ends_reply, survives)
    known = {(fact.epoch, fact.seq): fact for fact in facts}
    for fact in _as_said([known[number] for number in sorted(known)]):
        reader.read(fact)
    return reader.told()


def _as_said(facts: Sequence[Event]) -> list[Event]:
    """A model that hears by itself answers words before they are written down: these go before their answer."""
    answered: dict[tuple[int, int], int] = {}  # where the answer to a turn begins
    for place, fact in enumerate(facts):
        match fact:
            case UtteranceBegun(speaker="agent") | TranscriptFinal(speaker="agent") | ToolCalled():
                answered.setdefault((fact.epoch, fact.turn), place)
    places = dict(enumerate(facts))

    def place_of(place: int) -> float:
        match places[place]:
            case TranscriptFinal(speaker="caller") as words:
                return min(place, answered.get((words.epoch, words.turn), place) - 0.5)
        return place

    return [places[place] for place in sorted(places, key=place_of)]


class _Cut(Struct, frozen=True, kw_only=True):
    """Words of the agent that ended before their time: where their message stands, and which sentences had begun."""

    place: int
    begun: tuple[UtteranceBegun, ...]


class _Reader:
    """Follows a call fact by fact."""

    def __init__(self, ends_reply: Set[str], survives: Set[str]) -> None:
        self._ends_reply = ends_reply
        self._survives = survives
        self._messages: list[Message] = []
        self._epoch = 0
        self._turn = 0
        self._answered_at: datetime | None = None
        self._has_spoken = False  # anybody
        self._begun: list[UtteranceBegun] = []  # sentences of the agent's words that are not final yet
        self._place = 0  # where the message of those words belongs: a tool may answer while they are spoken
        self._is_caller_in = False  # the caller acted since those words began
        self._cut: _Cut | None = None  # the agent's last words, if nobody of the call interrupted them
        self._say = ""
        self._is_caller_speaking = False
        self._keys = ""
        self._awaits_reply = False
        self._pending: dict[str, Pending] = {}
        self._is_muted = False
        self._is_new = False  # another agent has the call, and nobody has spoken since
        self._has_consented: bool | None = None
        self._is_recording_paused = False

    def read(self, fact: Event) -> None:
        """Takes the next fact."""
        if fact.epoch != self._epoch:
            self._break_off()
            self._epoch = fact.epoch
        match fact:
            case CallAnswered() | EpochOpened() | CallStarted():
                self._answered_at = min(self._answered_at or fact.at, fact.at)
            case UtteranceBegun(speaker="agent"):
                self._agent_begins(fact)
            case UtteranceBegun(speaker="caller"):
                self._caller_acts()
                self._is_caller_speaking = True
            case DtmfReceived(is_masked=True):
                self._caller_acts()
                self._is_caller_speaking = True  # which keys they were is lost with their worker
            case DtmfReceived(digit=digit):
                self._caller_acts()
                if digit not in _UNSENT_KEYS:
                    self._keys += digit
            case TranscriptFinal(speaker="agent"):
                self._agent_said(fact)
            case TranscriptFinal(speaker="caller"):
                self._caller_said(fact)
            case ToolCalled():
                self._awaits_reply = False
                self._pending[fact.tool_call_id] = Pending(
                    tool_call_id=fact.tool_call_id, tool=fact.tool, arguments=fact.arguments
                )
            case ToolReturned():
                self._tool_returned(fact)
            case CallHandoff():
                self._begin_anew()
            case ContextInjected():
                self._injected(fact)
            case RecordingChanged(change="consented" | "declined" as change):
                self._has_consented = change == "consented"
            case RecordingChanged(change="paused" | "resumed" as change):
                self._is_recording_paused = change == "paused"
            case CommandDone(command="mute" | "unmute" as command):
                self._is_muted = command == "mute"

    def told(self) -> Continuation:
        """The continuation after the last fact."""
        self._break_off()
        is_callers = self._is_caller_speaking or bool(self._keys)
        if is_callers:  # whoever speaks cancels what the agent says and does
            for call in [call for call in self._pending.values() if call.tool not in self._survives]:
                self._messages += _used(call, INTERRUPTED)
                del self._pending[call.tool_call_id]
        pending = tuple(self._pending.values())
        return Continuation(
            messages=tuple(self._messages),
            greet=not self._has_spoken or self._is_new,
            ask_again=self._is_caller_speaking and not self._keys,
            say="" if is_callers else self._say,
            keys=self._keys,
            repeat_tools=pending,
            run_model=(self._awaits_reply or self._is_new)
            and not is_callers
            and all(call.tool in self._survives for call in pending),
            turn=self._turn,
            answered_at=self._answered_at,
            is_muted=self._is_muted,
            has_consented=self._has_consented,
            is_recording_paused=self._is_recording_paused,
        )

    def _agent_begins(self, fact: UtteranceBegun) -> None:
        self._is_new = False
        if self._begun and self._begun[-1].turn != fact.turn:
            self._begun.clear()  # cut before a word of them was heard
        if not self._begun:
            self._place = len(self._messages)
            self._is_caller_in = self._is_caller_speaking = False
            self._awaits_reply = False
            self._keys = ""
        self._begun.append(fact)
        self._cut, self._say = None, ""
        self._has_spoken = True

    def _agent_said(self, fact: TranscriptFinal) -> None:
        begun, self._begun = tuple(self._begun), []
        if fact.is_interrupted and not begun and not self._is_caller_in:
            return  # hardly a sound of it: it is to be said from its start
        place = self._place if begun else len(self._messages)
        self._messages.insert(place, {"role": "assistant", "content": fact.text})
        self._has_spoken = True
        if not begun:
            self._awaits_reply = False
        if fact.is_interrupted and begun and not self._is_caller_in:
            self._cut = _Cut(place=place, begun=begun)
        else:
            self._cut, self._say = None, ""

    def _caller_acts(self) -> None:
        self._has_spoken = True
        self._is_caller_in = True
        self._cut, self._say = None, ""

    def _caller_said(self, fact: TranscriptFinal) -> None:
        self._is_new = False
        self._caller_acts()
        self._begun.clear()
        self._messages.append({"role": "user", "content": fact.text})
        self._turn = max(self._turn, fact.turn)
        self._is_caller_in = False  # since anything that the agent may say next
        self._is_caller_speaking = fact.is_interrupted
        self._awaits_reply = not fact.is_interrupted
        if KEYPAD_PREFIX in fact.text:
            self._keys = ""
        self._pending = {key: call for key, call in self._pending.items() if call.tool not in self._ends_reply}

    def _tool_returned(self, fact: ToolReturned) -> None:
        call = self._pending.get(fact.tool_call_id)
        if call is None or (fact.is_ok and fact.tool in self._ends_reply):
            return
        del self._pending[fact.tool_call_id]
        self._messages += _used(call, fact.output)
        self._awaits_reply = True

    def _begin_anew(self) -> None:
        """Another agent has the call: what the one before was saying and doing is not its own to finish."""
        self._is_new = True
        self._say = ""
        self._pending.clear()

    def _injected(self, fact: ContextInjected) -> None:
        self._awaits_reply = self._awaits_reply or fact.is_answered
        if fact.source and self._pending:  # it tells what came of the tool that let the caller go
            for call in self._pending.values():
                self._messages += _used(call, {"error": fact.text})
            self._pending.clear()
            return
        self._messages.append({"role": fact.role, "content": fact.text})

    def _break_off(self) -> None:
        """The epoch ends here: what was being said was cut by that, not by anybody in the call."""
        if self._cut is not None:
            self._messages.pop(self._cut.place)
            self._place, self._begun = self._cut.place, list(self._cut.begun)
        if not self._begun:
            return
        *whole, last = self._begun
        if whole:
            heard = " ".join(sentence.text for sentence in whole)
            self._messages.insert(self._place, {"role": "assistant", "content": heard})
        if not self._is_caller_in:
            self._say = f"{last.text} {last.following}".strip()
        self._cut, self._begun = None, []


def _used(call: Pending, output: Any) -> tuple[Message, Message]:
    """A tool call and its answer, as Pipecat writes them into a context."""
    function = {"name": call.tool, "arguments": json.encode(call.arguments).decode()}
    answer = json.encode(output or {"result": output}).decode()
    return (
        {"role": "assistant", "tool_calls": [{"id": call.tool_call_id, "function": function, "type": "function"}]},
        {"role": "tool", "tool_call_id": call.tool_call_id, "content": answer},
    )
