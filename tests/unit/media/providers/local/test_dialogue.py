"""What a script answers to a conversation."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pipecat.processors.aggregators import async_tool_messages

from turncall_media.pipelines.story import continuation
from turncall_media.providers.local.dialogue import Call, Reply, reply, unknown_places
from turncall_media.providers.local.script import Script, expected_phrases
from turncall_proto.events import TranscriptFinal

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

SCRIPT = msgspec.convert(
    {
        "greeting": "Hello, the dentist.",
        "more": "Anything else?",
        "fallback": ["Pardon?", "Say it differently, please."],
        "intents": [
            {
                "name": "book",
                "hears": ["book an appointment", "I need an appointment"],
                "slots": [
                    {
                        "name": "day",
                        "ask": "Which day?",
                        "reask": "Monday or Tuesday?",
                        "values": [
                            {"value": "mon", "says": "Monday", "hears": ["Monday", "on Monday"]},
                            {"value": "tue", "says": "Tuesday", "hears": ["Tuesday", "on Tuesday"]},
                        ],
                    },
                    {
                        "name": "time",
                        "ask": "When on {{day}}?",
                        "values": [
                            {"value": "10:00", "says": "ten o'clock", "hears": ["ten", "at ten", "at ten o'clock"]},
                            {"value": "10:30", "says": "half past ten", "hears": ["half past ten"]},
                        ],
                    },
                ],
                "calls": {"tool": "book", "arguments": {"day": "{{day}}", "time": "{{ time }}", "chair": 3}},
                "corrects": "Of course, {{day}}.",
                "says": "Booked {{day}} at {{time}}, number {{result.number}}.",
            },
            {"name": "hours", "hears": ["when are you open"], "says": "From nine to five."},
            {"name": "bye", "hears": ["no", "no thank you", "goodbye"], "says": "Goodbye.", "then": "end_call"},
        ],
    },
    Script,
)
BOOKED = Call(tool="book", arguments={"day": "tue", "time": "10:00", "chair": 3})


class Conversation:
    """Messages as Pipecat keeps them, and the script's answers to them."""

    def __init__(self, script: Script = SCRIPT) -> None:
        self.script = script
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a receptionist."}]
        self.ids = 0

    def says(self, text: str) -> Reply:
        """The answer to the caller's words."""
        self.messages.append({"role": "user", "content": text})
        return self._answered()

    def tool_answers(self, result: object, tool: str = "book") -> Reply:
        """The answer to a tool's result."""
        self.ids += 1
        call = {"id": f"call_{self.ids}", "type": "function", "function": {"name": tool, "arguments": "{}"}}
        content = result if isinstance(result, str) else json.dumps(result)
        self.messages.append({"role": "assistant", "tool_calls": [call]})
        self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
        return self._answered()

    def _answered(self) -> Reply:
        answer = reply(self.script, self.messages)
        if answer.text:
            self.messages.append({"role": "assistant", "content": answer.text})
        return answer


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


def booked() -> Conversation:
    conversation = Conversation()
    conversation.says("book an appointment")
    conversation.says("Tuesday at ten")
    conversation.tool_answers({"number": 7})
    return conversation


def test_greeting_when_the_caller_has_not_spoken() -> None:
    """A model that is asked to begin greets, whatever instructions and greetings are in the context."""
    assert reply(SCRIPT, []) == Reply(text="Hello, the dentist.")
    assert reply(SCRIPT, [{"role": "system", "content": "x"}, {"role": "assistant", "content": "Hi."}]) == Reply(
        text="Hello, the dentist."
    )


def test_slots_are_asked_for_in_turn_and_then_the_tool_is_called(talk: Conversation) -> None:
    """A wish, two answers, one tool call with the values, and what the tool answered."""
    assert talk.says("Hello, I'd like to BOOK an appointment, please.") == Reply(text="Which day?")
    assert talk.says("On Tuesday.") == Reply(text="When on Tuesday?")
    assert talk.says("at ten o'clock") == Reply(calls=(BOOKED,))
    assert talk.tool_answers({"number": 7}) == Reply(text="Booked Tuesday at ten o'clock, number 7. Anything else?")


def test_everything_in_one_breath(talk: Conversation) -> None:
    """What was said beside the wish is not asked for again."""
    assert talk.says("I need an appointment on Tuesday at ten") == Reply(calls=(BOOKED,))


def test_an_answer_in_any_order(talk: Conversation) -> None:
    """The second slot may be filled before the first."""
    talk.says("book an appointment")
    assert talk.says("at ten, please") == Reply(text="Which day?")
    assert talk.says("Tuesday") == Reply(calls=(BOOKED,))


def test_the_longest_value_is_meant(talk: Conversation) -> None:
    """ "Half past ten" is not "ten"."""
    answer = talk.says("book an appointment on Monday half past ten")
    assert answer.calls[0].arguments["time"] == "10:30"


def test_the_last_of_two_values_is_meant(talk: Conversation) -> None:
    """Callers correct themselves within a sentence."""
    talk.says("book an appointment")
    assert talk.says("Monday, no, Tuesday") == Reply(text="When on Tuesday?")


def test_an_answer_not_understood_is_asked_for_again(talk: Conversation) -> None:
    """With the slot's second line if it has one, else with its first."""
    talk.says("book an appointment")
    assert talk.says("whenever") == Reply(text="Monday or Tuesday?")
    talk.says("Tuesday")
    assert talk.says("whenever") == Reply(text="When on Tuesday?")


def test_fallback_lines_take_turns(talk: Conversation) -> None:
    """They go round, and start again once something was understood."""
    assert [talk.says("blah").text for _ in range(3)] == ["Pardon?", "Say it differently, please.", "Pardon?"]
    talk.says("when are you open")
    assert talk.says("blah").text == "Pardon?"


def test_a_question_between_two_answers(talk: Conversation) -> None:
    """It is replied to, and what was open is asked again; nothing chosen is lost."""
    talk.says("book an appointment")
    talk.says("Tuesday")
    assert talk.says("When are you open?") == Reply(text="From nine to five. When on Tuesday?")
    assert talk.says("ten") == Reply(calls=(BOOKED,))


def test_a_correction_before_the_tool_was_called(talk: Conversation) -> None:
    """ "No" with a new value is no goodbye, although the goodbye listens for it."""
    talk.says("book an appointment")
    talk.says("Monday")
    assert talk.says("no, Tuesday") == Reply(text="When on Tuesday?")


def test_a_correction_after_the_tool_was_called() -> None:
    """The tool is called again with the new value, and the caller is told so."""
    again = Call(tool="book", arguments={"day": "mon", "time": "10:00", "chair": 3})
    assert booked().says("No, Monday.") == Reply(text="Of course, Monday.", calls=(again,))


def test_the_same_value_again_is_no_correction() -> None:
    """Nothing is announced as changed when nothing changed."""
    assert booked().says("Tuesday at ten").text == ""


def test_goodbye_ends_the_call() -> None:
    """The line is said beside the tool that ends the call."""
    assert booked().says("No, thank you.") == Reply(text="Goodbye.", calls=(Call(tool="end_call"),))


@pytest.mark.parametrize("result", [{"error": "The function could not be reached."}, "CANCELLED", "IN_PROGRESS"])
def test_a_tool_that_failed_is_not_reported_as_done(talk: Conversation, result: object) -> None:
    """An error, a cancellation and a call that still runs are no success."""
    talk.says("book an appointment Tuesday at ten")
    assert talk.tool_answers(result) == Reply(
        text="I am sorry, that did not work. Please try again later. Anything else?"
    )


@pytest.mark.parametrize("result", ["COMPLETED", "[1]", {"number": True}, {}])
def test_a_field_that_the_tool_did_not_answer_is_left_out(talk: Conversation, result: object) -> None:
    """No placeholder is ever spoken."""
    talk.says("book an appointment Tuesday at ten")
    assert talk.tool_answers(result).text == "Booked Tuesday at ten o'clock, number . Anything else?"


def test_another_tools_answer_is_passed_over(talk: Conversation) -> None:
    """The end of the call, asked about once more, does not book again or end it again."""
    talk.says("book an appointment Tuesday at ten")
    talk.tool_answers({"number": 1})
    talk.says("goodbye")
    assert talk.tool_answers({"ended": True}, tool="end_call") == Reply()


def test_a_late_answer_is_reported_and_words_are_not_answered_twice(talk: Conversation) -> None:
    """What an async tool found comes as a message of its own, behind what was said meanwhile."""
    talk.says("book an appointment Tuesday at ten")
    running = async_tool_messages.build_started_message("call_1")
    assert talk.tool_answers(str(running["content"])) == Reply()
    talk.messages.append(dict(async_tool_messages.build_final_result_message("call_1", '{"number": 7}')))
    assert reply(SCRIPT, talk.messages).text == "Booked Tuesday at ten o'clock, number 7. Anything else?"
    talk.says("when are you open")
    talk.messages.append(dict(async_tool_messages.build_final_result_message("call_1", '{"number": 7}')))
    assert reply(SCRIPT, talk.messages) == Reply()


def test_words_after_a_tools_answer_are_what_is_answered() -> None:
    """An old result does not come back when the caller goes on."""
    assert booked().says("when are you open") == Reply(text="From nine to five. Anything else?")


def test_another_worker_goes_on_with_the_callers_words_alone() -> None:
    """A context rebuilt from a transcript has no tool messages and perhaps merged ones; the standing is the same."""
    whole = booked()
    transcript = [message for message in whole.messages if message["role"] in ("user", "assistant")]
    rebuilt = [
        {"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in transcript if "content" in m
    ]
    assert reply(SCRIPT, [*rebuilt, {"role": "user", "content": "no, Monday"}]) == whole.says("no, Monday")


def test_equal_messages_give_an_equal_answer() -> None:
    """Nothing but the messages decides: asked twice, the same."""
    messages = booked().messages
    assert reply(SCRIPT, messages) == reply(SCRIPT, messages)


def test_empty_words_change_nothing(talk: Conversation) -> None:
    """A message without words is not an utterance."""
    talk.says("book an appointment")
    assert talk.says("") == Reply(text="Which day?")


def test_places_that_nothing_fills_are_found() -> None:
    """A misspelt slot, or a result without a tool, is named with its intent."""
    script = msgspec.convert({"intents": [{"name": "a", "hears": ["a"], "says": "{{dya}} {{result.x}}"}]}, Script)
    assert unknown_places(script) == ("a: dya", "a: result.x")
    assert unknown_places(SCRIPT) == ()


def test_every_phrase_that_the_script_was_written_for_is_expected() -> None:
    """Wishes, answers, answers beside wishes, two answers together, and corrections; plain words, each once."""
    phrases = expected_phrases(SCRIPT)
    assert len(phrases) == len(set(phrases))
    assert set(phrases) >= {
        "i need an appointment",
        "on tuesday",
        "book an appointment on tuesday",
        "tuesday at ten o'clock",
        "no on monday",
        "no",
    }


def test_every_expected_phrase_is_understood() -> None:
    """What the recogniser is told to listen for never ends in a fallback, once the wish is known."""
    for phrase in expected_phrases(SCRIPT):
        conversation = Conversation()
        conversation.says("book an appointment")
        assert conversation.says(phrase).text not in (*SCRIPT.fallback, "Monday or Tuesday?"), phrase


def test_another_worker_goes_on_in_the_middle_of_a_question() -> None:
    """The messages that are made again from the facts of a call lead to the same reply as those of the call itself."""
    conversation = Conversation()
    conversation.says("book an appointment")
    asked = conversation.says("on tuesday")
    told = [
        TranscriptFinal(
            call_id="call_1", project_id="prj_1", epoch=1, seq=seq, at=NOON,
            speaker="caller", text=text, start_ms=0, end_ms=1, turn=seq,
        )
        for seq, text in enumerate(("book an appointment", "on tuesday"), 1)
    ]  # fmt: skip
    story = continuation(told, frozenset())
    assert story.run_model
    assert reply(SCRIPT, story.messages) == asked
