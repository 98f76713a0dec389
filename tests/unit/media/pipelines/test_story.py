"""What the facts of a call mean for the worker that goes on with it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncall_media.pipelines.story import UNHEARD_S, Continuation, Pending, continuation, unheard
from turncall_proto.events import (
    CallAnswered,
    CallStarted,
    ContextInjected,
    DtmfReceived,
    EpochClosed,
    EpochOpened,
    Event,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    TurnMeasured,
    UtteranceBegun,
    VendorFailed,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENDS = frozenset({"end_call"})


class Told:
    """Facts, one after the other."""

    def __init__(self) -> None:
        self.facts: list[Any] = []
        self._epoch = 1
        self._seq = 0

    def next_epoch(self) -> "Told":
        self._epoch, self._seq = self._epoch + 1, 0
        return self

    def add(self, kind: Any, /, **fields: Any) -> "Told":
        self._seq += 1
        header = {"call_id": "call_1", "project_id": "prj_1", "epoch": self._epoch, "seq": self._seq}
        self.facts.append(kind(**header, at=NOON + timedelta(seconds=len(self.facts)), **fields))
        return self

    def opened(self) -> "Told":
        return self.add(EpochOpened, worker="wrk_1").add(CallStarted, setup_ms=9)

    def begins(self, text: str, following: str = "", turn: int = 0) -> "Told":
        return self.add(UtteranceBegun, speaker="agent", text=text, following=following, turn=turn, start_ms=0)

    def agent(self, text: str, turn: int = 0, *, cut: bool = False) -> "Told":
        return self.add(
            TranscriptFinal, speaker="agent", text=text, start_ms=0, end_ms=1, turn=turn, is_interrupted=cut
        )

    def says(self, text: str, turn: int = 0) -> "Told":
        """One sentence of the agent, heard whole."""
        return self.begins(text, turn=turn).agent(text, turn)

    def caller_begins(self, turn: int) -> "Told":
        return self.add(UtteranceBegun, speaker="caller", text="", turn=turn, start_ms=0)

    def caller(self, text: str, turn: int, *, cut: bool = False) -> "Told":
        """A whole turn of the caller."""
        return self.caller_begins(turn).add(
            TranscriptFinal, speaker="caller", text=text, start_ms=0, end_ms=1, turn=turn, is_interrupted=cut
        )

    def words(self, text: str, turn: int) -> "Told":
        """What a turn that is over turned out to be."""
        return self.add(TranscriptFinal, speaker="caller", text=text, start_ms=0, end_ms=1, turn=turn)

    def calls(self, tool: str, call_id: str = "t1", **arguments: Any) -> "Told":
        return self.add(ToolCalled, tool_call_id=call_id, tool=tool, arguments=arguments, turn=1)

    def returns(self, tool: str, output: Any, call_id: str = "t1", *, ok: bool = True) -> "Told":
        return self.add(ToolReturned, tool_call_id=call_id, tool=tool, is_ok=ok, output=output, latency_ms=5)

    def presses(self, keys: str, *, is_masked: bool = False) -> "Told":
        for key in keys:
            self.add(DtmfReceived, digit=key, is_masked=is_masked)
        return self

    def means(self) -> Continuation:
        return continuation(self.facts, ENDS)


def begun() -> Told:
    """An answered call."""
    return Told().opened()


def said(story: Continuation) -> list[tuple[str, str]]:
    """The messages in short: who, and the words or the tool."""
    return [
        (message["role"], message.get("content") or message["tool_calls"][0]["function"]["name"])
        for message in story.messages
    ]


def actions(story: Continuation) -> set[str]:
    """What the next worker does."""
    return {name for name in ("greet", "ask_again", "say", "keys", "repeat_tools", "run_model") if getattr(story, name)}


def test_caller_whose_turn_it_was_is_asked_again_after_a_long_silence_of_ours() -> None:
    """What they answered meanwhile was heard by nobody; after a short silence they have not begun yet."""
    asked = begun().agent("Which day?", 0).means()
    assert actions(unheard(asked, UNHEARD_S)) == {"ask_again"}
    assert unheard(asked, UNHEARD_S - 0.1) == asked


def test_agent_who_has_something_to_say_says_that_after_a_long_silence() -> None:
    """A sentence that was cut, or a reply that is owed, tells the caller enough."""
    cut = begun().begins("Which", "day?", 0).means()
    owed = begun().agent("Which day?", 0).caller("On Tuesday.", 1).means()
    assert unheard(cut, 60) == cut
    assert unheard(owed, 60) == owed


def test_call_that_nobody_has_spoken_in_is_greeted() -> None:
    """A worker that died before its first word leaves the greeting to the next one."""
    assert actions(begun().means()) == {"greet"}
    assert begun().means().messages == ()


def test_silence_is_left_alone() -> None:
    """The agent had finished and the caller was thinking: nothing is said, and everything is known."""
    story = begun().says("Hello.").caller("Hi.", 1).says("How are you?", 1).means()
    assert actions(story) == set()
    assert said(story) == [("assistant", "Hello."), ("user", "Hi."), ("assistant", "How are you?")]
    assert story.turn == 1


def test_caller_who_was_cut_off_is_asked_to_repeat() -> None:
    """The caller had begun and no words of that turn were final."""
    story = begun().says("Hello.").caller_begins(1).means()
    assert actions(story) == {"ask_again"}
    assert story.turn == 0


def test_half_a_turn_of_the_caller_is_no_turn_to_answer() -> None:
    """Words that were cut with the socket are remembered, and asked for again."""
    story = begun().says("Hello.").caller("I would like", 1, cut=True).means()
    assert actions(story) == {"ask_again"}
    assert said(story)[-1] == ("user", "I would like")
    assert story.turn == 1


def test_caller_who_waits_for_a_reply_gets_it() -> None:
    """The caller's words are final and nothing of a reply was heard."""
    assert actions(begun().says("Hello.").caller("Hi.", 1).means()) == {"run_model"}


def test_sentence_cut_by_a_death_is_said_again() -> None:
    """The killed worker said two sentences of four: the first is known as heard, the second begins again."""
    story = begun().caller("Hi.", 1).begins("One.", "Two. Three. Four.", 1).begins("Two.", "Three. Four.", 1).means()
    assert actions(story) == {"say"}
    assert story.say == "Two. Three. Four."
    assert said(story) == [("user", "Hi."), ("assistant", "One.")]


def test_sentence_cut_by_a_lost_socket_is_said_again() -> None:
    """The same, from a worker that lived to say what was heard."""
    story = (
        begun()
        .caller("Hi.", 1)
        .begins("One.", "Two is it. Three.", 1)
        .begins("Two is it.", "Three.", 1)
        .agent("One. Two", 1, cut=True)
        .add(EpochClosed)
        .means()
    )
    assert actions(story) == {"say"}
    assert story.say == "Two is it. Three."
    assert said(story) == [("user", "Hi."), ("assistant", "One.")]


def test_greeting_that_was_cut_goes_on() -> None:
    """No second greeting, but the rest of the first."""
    story = begun().begins("Welcome.", "How can I help?").begins("How can I help?").means()
    assert actions(story) == {"say"}
    assert story.say == "How can I help?"


def test_reply_of_which_hardly_a_sound_was_heard_is_made_again() -> None:
    """A word or less is no beginning."""
    story = begun().caller("Hi.", 1).agent("Wel", 1, cut=True).means()
    assert actions(story) == {"run_model"}
    assert said(story) == [("user", "Hi.")]


def test_agent_who_was_interrupted_by_the_caller_does_not_go_on() -> None:
    """Who interrupts and is cut off too is asked to repeat; what was heard is known."""
    story = begun().begins("One two.", "Three.").caller_begins(1).agent("One", cut=True).means()
    assert actions(story) == {"ask_again"}
    assert said(story) == [("assistant", "One")]


def test_interruption_whose_words_were_not_told_yet() -> None:
    """Killed between the caller's beginning and the agent's cut: only whole sentences count as heard."""
    story = begun().begins("One.", "Two.").begins("Two.").caller_begins(1).means()
    assert actions(story) == {"ask_again"}
    assert said(story) == [("assistant", "One.")]


def test_cough_that_led_to_nothing_is_forgotten() -> None:
    """The caller's voice without words; the agent went on since."""
    story = begun().says("Hello.").caller_begins(1).says("Are you there?").means()
    assert actions(story) == set()


def test_tool_and_its_answer_are_messages() -> None:
    """In the form that models take, the call right before its answer."""
    story = begun().caller("Book.", 1).calls("book", day="Monday").returns("book", {"number": 3}).means()
    assert story.messages[1:] == (
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "t1", "function": {"name": "book", "arguments": '{"day":"Monday"}'}, "type": "function"}
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": '{"number":3}'},
    )
    assert actions(story) == {"run_model"}, "the model has not spoken about the answer"


def test_tool_without_an_answer_is_called_again_under_its_id() -> None:
    """The webhook sees the same idempotency key."""
    story = begun().caller("Book.", 1).calls("book", day="Monday").means()
    assert actions(story) == {"repeat_tools"}
    assert story.repeat_tools == (Pending(tool_call_id="t1", tool="book", arguments={"day": "Monday"}),)
    assert said(story) == [("user", "Book.")]


def test_filler_line_that_was_cut_is_said_before_the_tool() -> None:
    """Both the line and the tool are done again."""
    story = begun().caller("Book.", 1).begins("One moment.", turn=1).calls("book").means()
    assert actions(story) == {"say", "repeat_tools"}


def test_filler_line_goes_before_the_answer_that_came_meanwhile() -> None:
    """The tool answered while the line was spoken: the line stands first, and the reply is still owed."""
    story = (
        begun()
        .caller("Book.", 1)
        .calls("book")
        .begins("One moment.", turn=1)
        .returns("book", {"number": 3})
        .agent("One moment.", 1)
        .means()
    )
    assert said(story)[:3] == [("user", "Book."), ("assistant", "One moment."), ("assistant", "book")]
    assert actions(story) == {"run_model"}


def test_tool_that_the_caller_interrupted_is_not_repeated() -> None:
    """Its answer says so, and the caller is asked to repeat."""
    story = begun().caller("Book.", 1).calls("book").caller_begins(2).means()
    assert actions(story) == {"ask_again"}
    assert story.messages[-1]["content"] == '{"error":"The caller interrupted it."}'


@pytest.mark.parametrize("has_answered", [False, True])
def test_end_of_the_call_is_carried_out(has_answered: bool) -> None:
    """The goodbye was heard, the hang-up did not happen: end_call is done again, whether or not it said that it was."""
    told = begun().caller("Bye.", 1).calls("end_call").says("Goodbye.", 1)
    story = (told.returns("end_call", {"ended": True}) if has_answered else told).means()
    assert actions(story) == {"repeat_tools"}


def test_caller_who_spoke_into_the_goodbye_stays() -> None:
    """end_call was interrupted, and the caller has said something since."""
    story = (
        begun()
        .caller("Bye.", 1)
        .calls("end_call")
        .begins("Goodbye.", turn=1)
        .caller_begins(2)
        .agent("Good", 1, cut=True)
        .returns("end_call", {"error": "The caller interrupted it."}, ok=False)
        .caller("Wait!", 2)
        .means()
    )
    assert actions(story) == {"run_model"}


def test_keys_that_were_not_read_yet_are_read_again() -> None:
    """Keys become the caller's words after a pause; the worker died within it."""
    story = begun().says("Your number?").presses("12A#").means()
    assert actions(story) == {"keys"}
    assert story.keys == "12#"


def test_secret_keys_that_were_not_read_yet_are_asked_for_again() -> None:
    """Which they were is nowhere written; the caller who was at it would wait for a reply."""
    story = begun().agent("Your card?").presses("**", is_masked=True).means()
    assert actions(story) == {"ask_again"}


def test_keys_that_became_words_are_not_read_again() -> None:
    """They are in the transcript."""
    story = begun().says("Your number?").presses("12").caller("DTMF: 12", 1).means()
    assert actions(story) == {"run_model"}
    assert said(story)[-1] == ("user", "DTMF: 12")


def test_key_interrupts_the_agent() -> None:
    """What the agent was saying is not gone on with."""
    story = begun().begins("Press one.", "Or two.").presses("1").agent("Press", cut=True).means()
    assert actions(story) == {"keys"}
    assert said(story) == [("assistant", "Press")]


def test_second_handover_in_the_middle_of_the_same_words() -> None:
    """The next worker began the cut sentence again and was cut too: it is said a third time, heard once."""
    told = begun().caller("Hi.", 1).begins("One.", "Two.", 1).begins("Two.", "", 1)
    told.next_epoch().opened().begins("Two.", "", 1)
    story = told.means()
    assert story.say == "Two."
    assert said(story) == [("user", "Hi."), ("assistant", "One.")]
    assert actions(told.next_epoch().opened().means()) == {"say"}, "a worker that died before a word changes nothing"


def test_words_said_again_are_heard_once() -> None:
    """After a handover that went well the messages read as if nothing had happened."""
    told = begun().caller("Hi.", 1).begins("One.", "Two.", 1).begins("Two.", "", 1)
    told.next_epoch().opened().begins("Two.", "", 1).agent("Two.", 1).caller("Thanks.", 2)
    story = told.means()
    assert said(story) == [("user", "Hi."), ("assistant", "One."), ("assistant", "Two."), ("user", "Thanks.")]
    assert (actions(story), story.turn) == ({"run_model"}, 2)


def test_length_of_the_call_counts_from_its_first_answer() -> None:
    """The carrier's word, or the first worker's, whichever is earlier."""
    told = begun().says("Hello.").next_epoch().opened()
    assert told.means().answered_at == NOON
    answered = CallAnswered(call_id="call_1", project_id="prj_1", epoch=0, seq=3, at=NOON - timedelta(seconds=2))
    assert continuation([*told.facts, answered], ENDS).answered_at == NOON - timedelta(seconds=2)


def test_other_facts_change_nothing() -> None:
    """Measures, usage and failures are no part of the conversation."""
    told = begun().says("Hello.").caller("Hi.", 1)
    told.add(TurnMeasured, turn=1, reply_ms=5).add(VendorFailed, kind="llm", vendor="v", detail="d", is_fatal=False)
    assert actions(told.means()) == {"run_model"}


class _Talk:
    """A conversation in which nothing goes wrong until it stops somewhere; ``steps`` choose what happens."""

    def __init__(self, steps: Sequence[int]) -> None:
        self.told = begun()
        self.turn = 0
        self.said: list[str] = []
        self._agent("Hello.", "How can I help?")
        for step in steps:
            self._turn(step)

    def _turn(self, step: int) -> None:
        self.turn += 1
        self.told.caller(f"Words {self.turn}.", self.turn)
        self.said.append(f"Words {self.turn}.")
        if step % 3 == 1:
            self.told.calls("book", f"t{self.turn}", day=step).returns("book", {"number": step}, f"t{self.turn}")
        self._agent(*(f"Reply {self.turn}, part {part}." for part in range(1 + step % 4)))

    def _agent(self, *sentences: str) -> None:
        for index, sentence in enumerate(sentences):
            self.told.begins(sentence, " ".join(sentences[index + 1 :]), self.turn)
        self.told.agent(" ".join(sentences), self.turn)
        self.said.append(" ".join(sentences))


@given(
    steps=st.lists(st.integers(0, 11), max_size=5),
    lost=st.integers(0, 60),
    data=st.data(),
)
def test_no_word_is_lost_or_doubled_wherever_a_worker_dies(steps: list[int], lost: int, data: st.DataObject) -> None:
    """What is known as said, with what is said again, is always the beginning of the conversation as it was meant."""
    talk = _Talk(steps)
    facts: list[Event] = talk.told.facts[: max(2, len(talk.told.facts) - lost)]
    story = continuation(facts, ENDS)

    shuffled = data.draw(st.permutations(facts + facts[::3]))
    assert continuation(shuffled, ENDS) == story, "order and repeats change nothing"

    words = [
        message["content"]
        for message in story.messages
        if message["role"] in ("assistant", "user") and "content" in message
    ]
    so_far = " ".join([*words, *([story.say] if story.say else [])])
    assert " ".join(talk.said).startswith(so_far)
    assert sum([story.greet, story.ask_again, bool(story.say), bool(story.run_model)]) <= 1
    for before, message in zip(story.messages, story.messages[1:], strict=False):
        if message["role"] == "tool":
            assert before["tool_calls"][0]["id"] == message["tool_call_id"]
    assert sum("tool_calls" in message for message in story.messages) == sum(
        message["role"] == "tool" for message in story.messages
    )
    ids = {message["tool_call_id"] for message in story.messages if message["role"] == "tool"}
    assert ids.isdisjoint(pending.tool_call_id for pending in story.repeat_tools)


def test_a_tool_that_survives_is_used_again_and_holds_nobody_up() -> None:
    """What no interruption cancels is still owed after the caller's next words, which are answered meanwhile."""
    survives = frozenset({"search"})
    told = begun().caller("Search.", 1).calls("search").caller("And tea?", 2)
    story = continuation(told.facts, ENDS, survives)
    assert actions(story) == {"repeat_tools", "run_model"}
    cut = told.add(UtteranceBegun, speaker="caller", text="", turn=3, start_ms=0)
    assert [call.tool for call in continuation(cut.facts, ENDS, survives).repeat_tools] == ["search"]
    assert continuation(cut.facts, ENDS).repeat_tools == ()


def test_words_that_came_behind_their_answer_stand_before_it() -> None:
    """A model that hears by itself answers, and may use a tool, before the caller's words are written down."""
    told = begun().says("Hello.").caller_begins(1).calls("find").returns("find", {"day": "Monday"})
    told.begins("It is Monday.", turn=1).words("Which day?", turn=1).agent("It is Monday.", turn=1)
    story = told.means()
    assert [message["role"] for message in story.messages] == ["assistant", "user", "assistant", "tool", "assistant"]
    assert story.messages[1]["content"] == "Which day?"
    assert story.is_listening


def test_answer_whose_question_is_not_written_down_is_gone_on_with() -> None:
    """The worker died between the two: the cut sentence is said again, and nobody asks the caller to repeat."""
    story = begun().says("Hello.").caller_begins(1).begins("It is Monday.", turn=1).means()
    assert story.say == "It is Monday."
    assert not story.ask_again


def test_a_caller_who_is_back_from_a_transfer_is_not_let_go_again() -> None:
    """The tool that succeeded in letting them go has failed after all, and the model is to speak about it."""
    told = Told().opened().caller("A person.", 1).calls("transfer_call", to="desk")
    told.add(
        ToolReturned,
        tool_call_id="t1",
        tool="transfer_call",
        is_ok=True,
        output={"connecting_to": "desk"},
        latency_ms=1,
    )
    told.next_epoch().add(EpochOpened, worker="wrk_2")
    told.add(ContextInjected, role="system", text="Nobody answered.", is_answered=True, source="t")
    story = continuation(told.facts, frozenset({"transfer_call"}))
    assert (story.repeat_tools, story.run_model) == ((), True)
    assert story.messages[-1]["content"] == '{"error":"Nobody answered."}'
