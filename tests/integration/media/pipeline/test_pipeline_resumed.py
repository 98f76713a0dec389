"""A call that another worker began, and goes on here."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web

from turncall_egress.signing import new_secret
from turncall_media.pipelines.apologies import please_repeat
from turncall_media.seams import Past
from turncall_proto.agent import EndCallTool, WebhookTool
from turncall_proto.call import EndedReason, Resume
from turncall_proto.events import (
    CallResumed,
    CallStarted,
    DtmfReceived,
    EpochOpened,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    UtteranceBegun,
)

from .both import BOTH
from .conftest import NOON, WORKER

GREETING = "Welcome to the practice."
LOST_S = 20.0
"""How long ago, by the carrier's clock, the first worker answered."""


def past(*facts: tuple[type, dict[str, Any]]) -> Past:
    """What the worker of epoch 1 stated."""
    opened = (EpochOpened, {"worker": "wrk_1"})
    return Past(
        facts=tuple(
            kind(
                call_id="call_1",
                project_id="prj_1",
                epoch=1,
                seq=seq,
                at=NOON - timedelta(seconds=LOST_S),
                **fields,
            )
            for seq, (kind, fields) in enumerate((opened, *facts), 1)
        ),
        is_known=True,
    )


def agent_said(text: str, turn: int = 0) -> tuple[type, dict[str, Any]]:
    return TranscriptFinal, {"speaker": "agent", "text": text, "start_ms": 0, "end_ms": 1, "turn": turn}


def caller_said(text: str, turn: int) -> tuple[type, dict[str, Any]]:
    return TranscriptFinal, {"speaker": "caller", "text": text, "start_ms": 0, "end_ms": 1, "turn": turn}


def agent_begins(text: str, following: str, turn: int) -> tuple[type, dict[str, Any]]:
    return UtteranceBegun, {"speaker": "agent", "text": text, "following": following, "turn": turn, "start_ms": 0}


def caller_begins(turn: int) -> tuple[type, dict[str, Any]]:
    return UtteranceBegun, {"speaker": "caller", "text": "", "turn": turn, "start_ms": 0}


@pytest.fixture
def resumed(stage: Any) -> Any:
    """Plays a call of which ``facts`` are known, as epoch 2."""

    def play(agent: Any, known: Past, act: Any, **resources: Any) -> Any:
        async def acted(scene: Any) -> None:
            scene.carrier.hang_up()
            await scene.outcome()  # the one that `play` began; nobody was on the line
            again = stage.scene(agent, **resources)
            scene.again = again
            again.past = known
            again.plan = msgspec.structs.replace(
                again.plan,
                epoch=2,
                resume=Resume(
                    from_epoch=1, from_worker="wrk_1", cause="socket_lost", lost_at=NOON + timedelta(seconds=-1)
                ),
            )
            stage.script.spoken.clear()
            await again.begin()
            await act(again)

        return stage.play(stage.an_agent(), acted).again

    return play


@BOTH
def test_silent_call_goes_on_in_silence(stage: Any, resumed: Any) -> None:
    """No second greeting; the model knows everything that was said, and turns go on in number."""
    stage.script.caller = ["And now?"]
    stage.script.replies = ["Now we go on."]

    async def act(scene: Any) -> None:
        await asyncio.sleep(2)
        assert scene.carrier.heard_s() == 0
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    known = past(agent_said(GREETING), caller_said("Hello.", 1), agent_said("How are you?", 1))
    scene = resumed(stage.an_agent(GREETING), known, act)
    assert stage.script.contexts[0][1:] == [
        {"role": "assistant", "content": GREETING},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "How are you?"},
        {"role": "user", "content": "And now?"},
    ]
    assert [fact.turn for fact in scene.facts.of(TranscriptFinal)] == [2, 2]
    assert [kind for kind, _ in scene.facts.all][:2] == [CallStarted, CallResumed]
    (fact,) = scene.facts.of(CallResumed)
    assert (fact.from_epoch, fact.from_worker, fact.to_worker, fact.cause) == (1, "wrk_1", WORKER, "socket_lost")
    assert fact.gap_ms >= 1000


@BOTH
def test_caller_who_was_cut_off_is_asked_to_repeat(stage: Any, resumed: Any) -> None:
    """In the agent's language."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    agent = msgspec.structs.replace(stage.an_agent(GREETING), language="de-DE")
    scene = resumed(agent, past(agent_said(GREETING), caller_begins(1)), act)
    assert scene.transcript() == [("agent", please_repeat("de"))]


@BOTH
def test_caller_who_still_speaks_is_asked_to_repeat_once_silent(stage: Any, resumed: Any) -> None:
    """Asked while they speak, they would talk over it, and nobody would speak again; no words came of what is left."""
    stage.script.caller = []

    async def act(scene: Any) -> None:
        await scene.carrier.speak(1.5)
        assert scene.carrier.heard_s() == 0
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = resumed(stage.an_agent(GREETING), past(agent_said(GREETING), caller_begins(1)), act)
    assert scene.transcript() == [("agent", please_repeat("en"))]
    assert [fact.is_interrupted for fact in scene.facts.of(TranscriptFinal)] == [False]


@BOTH
def test_rest_of_a_sentence_is_not_taken_for_one(stage: Any, resumed: Any) -> None:
    """Its beginning was heard by nobody, so what is understood of it means nothing, also when no fact told of it."""
    stage.script.caller = ["No, Thursday.", "When do you open?"]
    stage.script.replies = ["We open at nine."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(1.0)
        await scene.carrier.until(scene.transcript)
        await scene.carrier.speak(1.0)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = resumed(stage.an_agent(GREETING), past(agent_said(GREETING)), act)
    agent, caller, reply = scene.transcript()
    assert agent == ("agent", please_repeat("en"))
    assert caller[0] == "caller"
    assert reply == ("agent", "We open at nine.")
    assert len(stage.script.contexts) == 1, "the model was asked once: not about the rest of a sentence"


@BOTH
def test_caller_who_says_it_again_unasked_is_not_asked(stage: Any, resumed: Any) -> None:
    """Whole words make the turn."""
    stage.script.caller = ["On Tuesday."]
    stage.script.replies = ["Tuesday it is."]

    async def act(scene: Any) -> None:
        await asyncio.sleep(0.3)
        await scene.carrier.speak(1.0)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        await asyncio.sleep(1)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = resumed(stage.an_agent(GREETING), past(agent_said(GREETING), caller_begins(1)), act)
    assert scene.transcript() == [("caller", "On Tuesday."), ("agent", "Tuesday it is.")]


@BOTH
def test_agent_who_was_cut_off_goes_on_from_that_sentence(stage: Any, resumed: Any) -> None:
    """The sentence is said from its start, with what was to follow; the context holds everything once."""
    stage.script.caller = ["Fine."]
    stage.script.replies = ["Good."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    known = past(caller_said("Hi.", 1), agent_begins("One.", "Two. Three.", 1), agent_begins("Two.", "Three.", 1))
    scene = resumed(stage.an_agent(GREETING), known, act)
    assert scene.transcript()[0] == ("agent", "Two. Three.")
    assert scene.facts.of(TranscriptFinal)[0].turn == 1
    assert [message["content"] for message in stage.script.contexts[0][1:]] == ["Hi.", "One.", "Two. Three.", "Fine."]


@BOTH
def test_caller_who_waited_gets_the_reply(stage: Any, resumed: Any) -> None:
    """The words were understood, and the worker died while the model thought."""
    stage.script.replies = ["Here is the answer."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = resumed(stage.an_agent(), past(caller_said("What is it?", 1)), act)
    assert scene.transcript() == [("agent", "Here is the answer.")]


@BOTH
def test_end_of_the_call_is_carried_out(stage: Any, resumed: Any) -> None:
    """The goodbye was cut and end_call had not answered: the goodbye is said, and then the call ends."""

    async def act(scene: Any) -> None:
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.ASSISTANT_ENDED_CALL

    known = past(
        caller_said("Bye.", 1),
        (ToolCalled, {"tool_call_id": "t1", "tool": "end_call", "arguments": {}, "turn": 1}),
        agent_begins("Thank you. Goodbye.", "", 1),
    )
    scene = resumed(stage.an_agent(tools=(EndCallTool(),)), known, act)
    assert scene.transcript() == [("agent", "Thank you. Goodbye.")]
    assert scene.hang_ups[0][0] is EndedReason.ASSISTANT_ENDED_CALL
    assert scene.hang_ups[0][1] > 0.9


@BOTH
def test_keys_are_read_again(stage: Any, resumed: Any) -> None:
    """Keys that no worker had read become the caller's words, with those that follow."""
    stage.script.replies = ["Thank you."]

    async def act(scene: Any) -> None:
        await asyncio.sleep(0.5)
        scene.carrier.press("3")
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    known = past(agent_said("Your number?"), (DtmfReceived, {"digit": "1"}), (DtmfReceived, {"digit": "2"}))
    scene = resumed(stage.an_agent(), known, act)
    assert scene.transcript() == [("caller", "DTMF: 123"), ("agent", "Thank you.")]
    assert [fact.digit for fact in scene.facts.of(DtmfReceived)] == ["3"], "what was told before is not told again"


@BOTH
def test_call_nobody_spoke_in_is_greeted(stage: Any, resumed: Any) -> None:
    """The first worker died before a word."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    assert resumed(stage.an_agent(GREETING), past(), act).transcript() == [("agent", GREETING)]


@BOTH
def test_call_of_which_nothing_is_known_goes_on(stage: Any, resumed: Any) -> None:
    """Without the bus there is no story: the caller is asked to say it again."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = resumed(stage.an_agent(GREETING), Past(facts=(), is_known=False), act)
    assert scene.transcript() == [("agent", please_repeat("en"))]


@BOTH
def test_length_of_the_call_counts_from_its_first_answer(stage: Any, resumed: Any) -> None:
    """Of 30 seconds 20 had passed."""

    async def act(scene: Any) -> None:
        began_s = scene.carrier.now()
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.MAX_DURATION_REACHED
        assert scene.carrier.now() - began_s == pytest.approx(10, abs=2)

    resumed(stage.an_agent(max_duration_s=30), past(agent_said(GREETING)), act)


@BOTH
async def test_tool_without_an_answer_is_called_again(stage: Any) -> None:
    """The user's server sees the same idempotency key and arguments, and the model its answer."""
    seen: list[tuple[str, Any]] = []

    async def book(request: web.Request) -> web.Response:
        seen.append((request.headers["Idempotency-Key"], json.loads(await request.read())["arguments"]))
        return web.json_response({"number": 7})

    app = web.Application()
    app.router.add_post("/", book)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tool = WebhookTool(
        name="book", description="Books.", url=f"http://127.0.0.1:{runner.addresses[0][1]}/", parameters={}
    )
    stage.script.replies = ["Booked."]
    scene = stage.scene(stage.an_agent(tools=(tool,)), open_secret=lambda sealed: new_secret())
    scene.plan = msgspec.structs.replace(scene.plan, epoch=2, signing_secret="sealed")
    called = {"tool_call_id": "call_9", "tool": "book", "arguments": {"day": "Monday"}, "turn": 1}
    scene.past = past(caller_said("Monday.", 1), (ToolCalled, called))
    try:
        await scene.begin()
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.running
    finally:
        await runner.cleanup()
    assert seen == [("call_9", {"day": "Monday"})]
    assert scene.transcript() == [("agent", "Booked.")]
    (returned,) = scene.facts.of(ToolReturned)
    assert (returned.tool_call_id, returned.output, returned.is_ok) == ("call_9", {"number": 7}, True)
    (context,) = stage.script.contexts
    assert [message.get("tool_call_id") for message in context if message["role"] == "tool"] == ["call_9"]
    assert len(context) == 4


@BOTH
def test_lost_socket_leaves_what_the_next_worker_needs(stage: Any) -> None:
    """The agent's cut sentence is told as far as heard, a running tool has no answer, and the call has no end."""
    stage.script.caller = ["Bye."]
    stage.script.replies = [stage.call("end_call", {}, text="Thank you for calling us today. Goodbye.")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        scene.carrier.drop()
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (None, None)

    scene = stage.play(stage.an_agent(tools=(EndCallTool(),)), act)
    assert [fact.tool for fact in scene.facts.of(ToolCalled)] == ["end_call"]
    assert scene.facts.of(ToolReturned) == []
    assert scene.hang_ups == []
    last = scene.facts.of(TranscriptFinal)[-1]
    assert (last.text, last.is_interrupted) == ("Thank you for", True)


def test_caller_who_speaks_when_the_socket_is_lost(stage: Any) -> None:
    """Words that came before are told, and that they were cut."""
    stage.script.caller = ["I would like"]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await asyncio.sleep(0.25)
        await scene.carrier.speak(0.4)
        scene.carrier.drop()
        await scene.outcome()

    scene = stage.play(stage.an_agent(silence_timeout_ms=2000), act)
    (words,) = scene.facts.of(TranscriptFinal)
    assert (words.speaker, words.text, words.is_interrupted) == ("caller", "I would like", True)


@BOTH
@pytest.mark.parametrize("is_warned", [True, False])
def test_next_worker_asks_and_warns_where_the_lost_one_stopped(stage: Any, resumed: Any, is_warned: bool) -> None:
    """A warning that was due while nobody served the call is said, one that was said is not; nor is a question."""
    warning, first, second = "Half a minute left.", "Hello?", "Anybody?"

    async def act(scene: Any) -> None:
        assert (await scene.outcome()).reason is EndedReason.CUSTOMER_SILENT

    known = past(agent_said(GREETING), *([agent_said(warning)] if is_warned else []), agent_said(first))
    agent = stage.an_agent(GREETING, max_duration_s=60, idle_timeout_s=3, idle_prompts=(first, second))
    agent = msgspec.structs.replace(agent, max_duration_warning=warning, max_duration_warning_s=45)
    scene = resumed(agent, known, act)
    told = [text for _, text in scene.transcript()]
    assert told == ([] if is_warned else [warning]) + [second]


@BOTH
def test_protected_first_message_is_protected_where_it_is_said_again(stage: Any, resumed: Any) -> None:
    """The rest of a greeting that another worker was cut off in is heard whole too."""
    stage.script.caller = ["Not heard."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = resumed(stage.an_agent(GREETING, protect_first_message=True), past(agent_begins(GREETING, "", 0)), act)
    assert scene.transcript() == [("agent", GREETING)]
    assert not scene.facts.of(TranscriptFinal)[0].is_interrupted
