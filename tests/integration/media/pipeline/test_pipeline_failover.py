"""A vendor that fails is replaced within the turn, and the caller hears the reply."""

from typing import Any

import pytest
from msgspec.structs import replace

from turncall_media.circuits import Circuits
from turncall_media.pipelines.apologies import apology
from turncall_proto.agent import Fallbacks, VendorRef
from turncall_proto.call import EndedReason
from turncall_proto.events import UsageReported, VendorFailed

LONG = "One two three four five six seven eight. Nine ten eleven twelve. Thirteen fourteen."


class KeyRejected(Exception):
    """As an HTTP client raises it."""

    status_code = 401


def with_fallbacks(stage: Any, kind: str, *names: str, first_message: str = "") -> Any:
    """An agent whose stage ``kind`` falls back on vendors of these names, each with a script of its own."""
    agent = stage.an_agent(first_message)
    for name in names:
        stage.understudies[name] = type(stage.script)()
    fallbacks = Fallbacks(**{kind: tuple(VendorRef(vendor=name) for name in names)})
    return replace(agent, pipeline=replace(agent.pipeline, fallbacks=fallbacks))


def failures(scene: Any) -> list[tuple[str, str, str, bool]]:
    """Of vendors: stage, who, who took over, and whether the call ended of it."""
    return [(fact.kind, fact.vendor, fact.taken_over_by, fact.is_fatal) for fact in scene.facts.of(VendorFailed)]


@pytest.mark.parametrize("error", [ConnectionError("reset"), KeyRejected()])
def test_another_model_answers_in_the_same_turn(stage: Any, error: Exception) -> None:
    """The caller says it once and hears the fallback's answer; what each vendor did is told apart."""
    agent = with_fallbacks(stage, "llm", "second")
    stage.script.caller = ["Hello?", "And now?"]
    stage.script.replies = [error]
    stage.understudies["second"].replies = ["Here I am.", "Still here."]

    async def act(scene: Any) -> None:
        for count in (2, 4):
            await scene.carrier.speak(0.6)
            await scene.carrier.until(lambda count=count: len(scene.transcript()) == count)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert [text for who, text in scene.transcript() if who == "agent"] == ["Here I am.", "Still here."]
    assert failures(scene) == [("llm", "scripted", "second", False)]
    assert [(fact.kind, fact.vendor) for fact in scene.facts.of(UsageReported)] == [
        ("stt", "scripted"),
        ("llm", "scripted"),
        ("tts", "scripted"),
        ("llm", "second"),
    ]


def test_a_model_that_keeps_silent_is_replaced_before_the_caller_gives_up(stage: Any) -> None:
    """Without a first token in four seconds the next model is asked, and the silent one's answer is never heard."""
    agent = with_fallbacks(stage, "llm", "second")
    stage.script.caller = ["Hello?"]
    stage.script.replies = ["Too late."]
    stage.script.llm_s = 5.0
    stage.understudies["second"].replies = ["Here I am."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        said_s = scene.carrier.now()
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        assert 4.0 < scene.carrier.now() - said_s < 5.5
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert scene.transcript() == [("caller", "Hello?"), ("agent", "Here I am.")]
    assert failures(scene) == [("llm", "scripted", "second", False)]


def test_with_no_model_left_the_caller_hears_an_apology(stage: Any) -> None:
    """Everybody is tried once, in order; then the call ends as it does without fallbacks."""
    agent = with_fallbacks(stage, "llm", "second", "third")
    stage.script.caller = ["Hello?"]
    for script in (stage.script, *stage.understudies.values()):
        script.replies = [ConnectionError("reset")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        assert (await scene.outcome()).reason is EndedReason.VENDOR_ERROR

    scene = stage.play(agent, act)
    assert failures(scene) == [
        ("llm", "scripted", "second", False),
        ("llm", "second", "third", False),
        ("llm", "third", "", True),
    ]
    assert scene.transcript()[-1] == ("agent", apology("en"))


def test_another_voice_speaks_the_whole_greeting(stage: Any) -> None:
    """A voice that fails before its first sound costs the caller no word."""
    agent = with_fallbacks(stage, "tts", "second", first_message=LONG)
    stage.script.voice_fails = 99

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert scene.transcript() == [("agent", LONG)]
    assert failures(scene) == [("tts", "scripted", "second", False)]
    usage = {fact.vendor: fact.characters for fact in scene.facts.of(UsageReported) if fact.kind == "tts"}
    assert usage["second"] == len(LONG)


def test_a_voice_that_breaks_off_is_followed_by_another(stage: Any) -> None:
    """Whole sentences are not said again; the one that was cut is, and the transcript holds both, as heard."""
    agent = with_fallbacks(stage, "tts", "second")
    stage.script.caller = ["Hello?"]
    stage.script.replies = [LONG]
    stage.script.voice_breaks_in = "Nine"

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    one, nine, thirteen = "One two three four five six seven eight.", "Nine ten eleven twelve.", "Thirteen fourteen."
    assert stage.script.spoken[:2] == [one, nine]
    assert stage.understudies["second"].spoken == [nine, thirteen]
    _, said = scene.transcript()[-1]
    assert said.startswith(one)
    assert said.endswith(f"{nine} {thirteen}")
    assert said != LONG
    assert len(said) < len(LONG) + len(nine)


def test_a_silent_voice_is_replaced(stage: Any) -> None:
    """Without a first sound in three seconds another voice says it."""
    agent = with_fallbacks(stage, "tts", "second", first_message="Good morning.")
    stage.script.voice_s = 3600.0

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        assert scene.carrier.now() < 4.0
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert scene.transcript() == [("agent", "Good morning.")]


def test_another_ear_hears_what_the_first_one_lost(stage: Any) -> None:
    """The utterance in which a transcription failed reaches the model all the same, once."""
    agent = with_fallbacks(stage, "stt", "second")
    stage.script.caller = [ConnectionError("reset")]
    stage.script.replies = ["I heard you.", "Again."]
    stage.understudies["second"].caller = ["Hello?", "Hello again?"]

    async def act(scene: Any) -> None:
        for count in (2, 4):
            await scene.carrier.speak(0.6)
            await scene.carrier.until(lambda count=count: len(scene.transcript()) == count)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert scene.transcript() == [
        ("caller", "Hello?"),
        ("agent", "I heard you."),
        ("caller", "Hello again?"),
        ("agent", "Again."),
    ]
    assert stage.understudies["second"].heard_ms[0] >= 600, "of an utterance of 600 ms"
    assert failures(scene) == [("stt", "scripted", "second", False)]


def test_a_vendor_that_never_connects_is_replaced_before_the_greeting(stage: Any) -> None:
    """The call goes on with who answers."""
    agent = with_fallbacks(stage, "llm", "second", first_message="Hello.")
    stage.script.connect_s = 3600.0

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        assert scene.carrier.now() < 6
        scene.carrier.hang_up()
        await scene.outcome()

    assert failures(stage.play(agent, act)) == [("llm", "scripted", "second", False)]


def test_a_vendor_with_bad_options_is_passed_over(stage: Any) -> None:
    """What cannot be built costs no call while somebody else can."""
    agent = with_fallbacks(stage, "tts", "second", first_message="Hello.")
    bad = VendorRef(vendor="scripted", options={"colour": "red"})

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(replace(agent, pipeline=replace(agent.pipeline, tts=bad)), act)
    assert scene.transcript() == [("agent", "Hello.")]
    assert failures(scene) == [("tts", "scripted", "second", False)]


def test_later_calls_of_the_worker_do_not_wait_for_a_vendor_that_is_out_of_order(stage: Any) -> None:
    """After two calls that had to switch, the third begins with the fallback; after half a minute one tries again."""
    agent = with_fallbacks(stage, "llm", "second")
    clock = [0.0]
    circuits = Circuits(lambda: clock[0])
    asked: list[int] = []

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    for _ in range(4):
        stage.script.caller, stage.script.contexts = ["Hello?"], []
        stage.script.replies = [ConnectionError("reset")]
        stage.understudies["second"].replies = ["Here I am."]
        scene = stage.play(agent, act, circuits=circuits)
        assert scene.transcript()[-1] == ("agent", "Here I am.")
        asked.append(len(stage.script.contexts))
        clock[0] += 15.0
    assert asked == [1, 1, 0, 1]


def test_a_caller_interrupts_a_fallback_as_well(stage: Any) -> None:
    """Nothing of the failed vendor's turn comes back after the caller took the floor."""
    agent = with_fallbacks(stage, "tts", "second", first_message=LONG)
    stage.script.voice_fails = 1
    stage.script.caller = ["Stop."]
    stage.script.replies = ["As you wish."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert [text for _, text in scene.transcript()[1:]] == ["Stop.", "As you wish."]
    assert stage.understudies["second"].spoken[-1] == "As you wish."
