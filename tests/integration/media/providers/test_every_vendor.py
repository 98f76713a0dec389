"""One suite for each kind of vendor, passed by every vendor found on disk: the local ones as they are, the others
against their fakes. Those that want a model have tests of their own."""

import re
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final

import pytest
from pipecat.frames.frames import (
    FunctionCallResultFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media import registry
from turncall_media.answers import NoAnswer
from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, HeardUntilFrame, SaidFrame, SayFrame
from turncall_media.stages.kinds import Kind
from turncall_media.vendor_table import WANT_A_MODEL
from turncall_testkit.vendors import FAKES, UNKNOWN, Call, Manners, Reply
from turncall_testkit.vendors.replies import INPUT_TOKENS, OUTPUT_TOKENS

RATE_HZ: Final = 8000
LOCAL: Final = "local"
ANSWER: Final = "We open at nine."
TOOL: Final = "book_it"
OTHERS: Final = ("embed", "avatar")
"""No services of Pipecat's: tests/integration/media/jobs, test_avatars."""
_CATALOGUE: Final = {
    kind: tuple(vendor for vendor in vendors if vendor not in WANT_A_MODEL)
    for kind, vendors in registry.catalogue().items()
    if kind not in OTHERS
}
HOSTED: Final = [(kind, vendor) for kind, vendors in _CATALOGUE.items() for vendor in vendors if vendor != LOCAL]
SCRIPT: Final = {
    "intents": [
        {"name": "hours", "hears": ["when do you open"], "says": ANSWER},
        {
            "name": "book",
            "hears": ["book monday"],
            "calls": {"tool": TOOL, "arguments": {"day": "monday", "people": 2}},
            "says": "Done.",
        },
    ]
}
SPEAKS_ANY: Final[set[tuple[Kind, str]]] = set()
HAS_NO_LANGUAGE: Final[set[tuple[Kind, str]]] = {("tts", "deepgram"), ("tts", "openai"), ("speech", "aws")}
"""Its voices speak the language of the text; or have one each, and the agent's names the voice."""
LOCAL_OPTIONS: Final[dict[Kind, dict[str, Any]]] = {
    "stt": {"phrases": ["on Tuesday", "at ten o'clock"]},
    "llm": {"script": SCRIPT},
    "tts": {},
    "speech": {
        "script": {
            "intents": [
                {"name": "hours", "hears": ["on Tuesday"], "says": ANSWER},
                {**SCRIPT["intents"][1], "hears": ["at ten o'clock"]},
            ]
        }
    },
}


@asynccontextmanager
async def serving(kind: Kind, vendor: str, **answers: Any) -> AsyncIterator[tuple[dict[str, Any], Any]]:
    """Options of a vendor that works, and its fake; the local vendors need none."""
    if vendor == LOCAL:
        yield LOCAL_OPTIONS[kind], None
        return
    start: Callable[..., Any] = FAKES[vendor, kind]
    async with start(**answers) as fake:
        yield fake.options(kind), fake


async def say(running: Any, name: str) -> None:
    """A recorded utterance, bounded as the voice detector does it."""
    with wave.open(str(files("turncall.demo").joinpath("caller", f"{name}.wav"))) as recording:
        speech = recording.readframes(recording.getnframes())
    audio = bytes(3200) + speech + bytes(3200)
    frames = [InputAudioRawFrame(audio[start : start + 320], RATE_HZ, 1) for start in range(0, len(audio), 320)]
    await running.send(*frames[:15], VADUserStartedSpeakingFrame(start_secs=0.2), *frames[15:])
    await running.send(VADUserStoppedSpeakingFrame(stop_secs=0.2))


def asking(text: str) -> LLMContextFrame:
    return LLMContextFrame(LLMContext(messages=[{"role": "user", "content": text}]))


async def give_work(running: Any, kind: Kind) -> None:
    """What a vendor of that kind is there for."""
    match kind:
        case "stt":
            await say(running, "day")
        case "llm":
            await running.send(asking("When do you open?"))
        case "tts":
            await running.send(TTSSpeakFrame("We are open from nine to five."))
        case "speech":
            await say(running, "day")
            await running.send(AnswerFrame(1))


def usages(running: Any) -> list[LLMTokenUsage]:
    """What was told of the tokens of each answer."""
    data = [one for frame in running.got(MetricsFrame) for one in frame.data]
    return [one.value for one in data if isinstance(one, LLMUsageMetricsData)]


def text_of(running: Any, since: int) -> str:
    """What the model wrote after so many pieces."""
    return "".join(frame.text for frame in running.got(LLMTextFrame)[since:])


@pytest.mark.proves("agent.language")
@pytest.mark.parametrize(("kind", "vendor"), [one for one in HOSTED if one[0] != "llm" and one not in HAS_NO_LANGUAGE])
async def test_the_agents_language_reaches_the_vendor(bench: Callable[..., Any], kind: Kind, vendor: str) -> None:
    """Who hears or speaks is asked for it by its tag, with a region where the vendor knows none without; or for a model
    of other languages than English."""
    tag = re.compile(r"'de(-DE)?(-[\w-]+)?'|multilingual")
    async with (
        serving(kind, vendor) as (options, fake),
        bench(kind, vendor, options, language="de").running() as running,
    ):
        await give_work(running, kind)
        await running.until(lambda: tag.search(asked_of(fake)))
        assert running.errors == []


def asked_of(fake: Any) -> str:
    """All that a vendor was asked, as text."""
    return repr([*(asked.fields for asked in fake.journal), *getattr(fake, "sessions", ())])


def test_every_hosted_vendor_has_a_fake() -> None:
    """A vendor that nobody can try without an account is not done."""
    assert {(vendor, kind) for kind, vendor in HOSTED} == {pair for pair in FAKES if pair[1] not in OTHERS}


@pytest.mark.parametrize("vendor", _CATALOGUE["stt"])
async def test_speech_becomes_final_transcripts(bench: Callable[..., Any], vendor: str) -> None:
    """One final transcript for each utterance, the second no worse than the first, and no error."""
    async with serving("stt", vendor) as (options, _), bench("stt", vendor, options).running() as running:
        for count, name in enumerate(("day", "time"), start=1):
            await say(running, name)
            await running.until(lambda count=count: len(running.got(TranscriptionFrame)) == count)
        assert all(frame.finalized and frame.text.strip() for frame in running.got(TranscriptionFrame))
        assert running.errors == []


@pytest.mark.parametrize("vendor", _CATALOGUE["llm"])
async def test_a_context_becomes_streamed_text(bench: Callable[..., Any], vendor: str) -> None:
    """Between a start and an end, in pieces, whole when joined."""
    async with (
        serving("llm", vendor, replies=[Reply(text=ANSWER)]) as (options, _),
        bench("llm", vendor, options).running() as running,
    ):
        await running.send(asking("When do you open?"))
        await running.first(LLMFullResponseEndFrame)
        assert len(running.got(LLMFullResponseStartFrame)) == 1
        assert len(running.got(LLMTextFrame)) > 1
        assert "".join(frame.text for frame in running.got(LLMTextFrame)).strip() == ANSWER
        assert running.errors == []


@pytest.mark.parametrize("vendor", _CATALOGUE["llm"])
async def test_a_model_calls_a_tool(bench: Callable[..., Any], vendor: str) -> None:
    """The registered function gets the arguments with their types, once."""
    called: list[dict[str, Any]] = []

    async def book(params: Any) -> None:
        called.append(dict(params.arguments))
        await params.result_callback({"ok": True})

    reply = Reply(calls=(Call(name=TOOL, arguments={"day": "monday", "people": 2}),))
    async with serving("llm", vendor, replies=[reply]) as (options, _):
        line = bench("llm", vendor, options)
        line.service.register_function(TOOL, book)
        async with line.running() as running:
            await running.send(asking("Book Monday."))
            await running.first(FunctionCallResultFrame)
            assert called == [{"day": "monday", "people": 2}]
            assert running.errors == []


@pytest.mark.parametrize("vendor", [vendor for kind, vendor in HOSTED if kind == "llm" and vendor != "google"])
async def test_a_call_that_cannot_be_made_is_told(bench: Callable[..., Any], vendor: str) -> None:
    """Arguments that are no JSON are an error that another try may mend, also behind words: nothing is called, and
    nobody waits for it. Gemini sends none, but an empty answer."""

    async def book(_: Any) -> None:
        raise AssertionError("nobody knows with what")

    reply = Reply(text="Let me see.", calls=(Call(name=TOOL, written='{"day": "mon'),))
    async with serving("llm", vendor, replies=[reply]) as (options, _):
        line = bench("llm", vendor, options)
        line.service.register_function(TOOL, book)
        async with line.running() as running:
            await running.send(asking("Book Monday."))
            await running.first(LLMFullResponseEndFrame)
            error = await running.error()
            assert running.errors == [error]
            assert isinstance(error.exception, NoAnswer)
            assert running.service.is_usable


@pytest.mark.parametrize("vendor", [vendor for kind, vendor in HOSTED if kind == "llm"])
async def test_tokens_are_counted_once(bench: Callable[..., Any], vendor: str) -> None:
    """As the vendor states them for the whole answer, however often it states them."""
    async with serving("llm", vendor) as (options, _), bench("llm", vendor, options).running() as running:
        await running.send(asking("When do you open?"))
        await running.first(LLMFullResponseEndFrame)
        await running.until(lambda: usages(running))
        (usage,) = usages(running)
        assert (usage.prompt_tokens, usage.completion_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)


@pytest.mark.parametrize(("kind", "vendor"), [one for one in HOSTED if one not in SPEAKS_ANY])
async def test_an_unknown_name_and_a_refused_key_are_final(bench: Callable[..., Any], kind: Kind, vendor: str) -> None:
    """A model, a voice or a key that is refused will be refused again in this call: nobody tries it a second time."""
    named = "voice" if kind == "tts" else "model"
    for options_more, fault in (({named: UNKNOWN}, None), ({}, "refuse_key")):
        async with serving(kind, vendor) as (options, fake):
            fake.manners = Manners(fault=fault)
            async with bench(kind, vendor, {**options, **options_more}).running() as running:
                await give_work(running, kind)
                await running.error()
                await running.until(lambda running=running: not running.service.is_usable)


@pytest.mark.parametrize("vendor", [vendor for kind, vendor in HOSTED if kind == "llm"])
async def test_a_model_that_is_interrupted_answers_the_next_question(bench: Callable[..., Any], vendor: str) -> None:
    """What it was writing is dropped, without an error, and the next answer is whole."""
    replies = [Reply(text="One two three four five six."), Reply(text=ANSWER)]
    async with serving("llm", vendor, replies=replies) as (options, fake):
        fake.manners = Manners(pace_s=0.05)
        async with bench("llm", vendor, options).running() as running:
            await running.send(asking("Count."))
            await running.first(LLMTextFrame)
            await running.send(InterruptionFrame())
            await running.first(InterruptionFrame)
            before = len(running.got(LLMTextFrame))
            fake.manners = Manners()
            await running.send(asking("When do you open?"))
            await running.until(lambda: text_of(running, before).strip() == ANSWER)
            assert running.errors == []


@pytest.mark.parametrize("vendor", _CATALOGUE["tts"])
async def test_text_becomes_speech_at_the_phones_rate(bench: Callable[..., Any], vendor: str) -> None:
    """Mono at 8 kHz between a start and a stop, in whole samples, as long as speech of that text is."""
    async with serving("tts", vendor) as (options, _), bench("tts", vendor, options).running() as running:
        await running.send(TTSSpeakFrame("We are open from nine to five."))
        await running.first(TTSStoppedFrame)
        audio = running.got(TTSAudioRawFrame)
        assert len(running.got(TTSStartedFrame)) == 1
        assert {(frame.sample_rate, frame.num_channels) for frame in audio} == {(RATE_HZ, 1)}
        assert not any(len(frame.audio) % 2 for frame in audio)
        seconds = sum(len(frame.audio) for frame in audio) / 2 / RATE_HZ
        assert seconds == pytest.approx(2.0, abs=1.0) if vendor == LOCAL else seconds == pytest.approx(1.0, abs=0.01)
        assert running.errors == []


async def speak_to(running: Any, name: str, turn: int) -> None:
    """A recorded utterance, and the end of its turn."""
    await say(running, name)
    await running.send(AnswerFrame(turn))


@pytest.mark.parametrize("vendor", _CATALOGUE["speech"])
async def test_a_spoken_turn_is_heard_and_answered(bench: Callable[..., Any], vendor: str) -> None:
    """The words of each turn, and one reply to it: its sentences and its sound, at the phone's rate, within one start
    and one end. What is to be said word for word is said too."""
    async with (
        serving("speech", vendor, replies=[Reply(text=ANSWER), Reply(text=ANSWER)]) as (options, _),
        bench("speech", vendor, options).running() as running,
    ):
        for turn in (1, 2):
            await speak_to(running, "day", turn)
            await running.until(lambda turn=turn: len(running.got(LLMFullResponseEndFrame)) == turn)
        heard: list[CallerWordsFrame] = []

        def have_words() -> bool:
            heard[:] = [frame for frame in running.got(CallerWordsFrame) if frame.is_final]
            return len(heard) == 2

        await running.until(have_words)
        assert [frame.turn for frame in heard] == [1, 2]
        assert all(frame.text.strip() for frame in heard)
        await running.send(SayFrame("Are you still there?", is_kept=False))
        await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == 3)
        assert len(running.got(LLMFullResponseStartFrame)) == 3
        assert [frame.append_to_context for frame in running.got(TTSStartedFrame)] == [True, True, False]
        assert len({frame.context_id for frame in running.got(TTSStartedFrame)}) == 3
        assert len(running.got(TTSStoppedFrame)) == 3
        assert [frame.text.strip() for frame in running.got(SaidFrame)] == [ANSWER, ANSWER, "Are you still there?"]
        audio = running.got(TTSAudioRawFrame)
        assert {(frame.sample_rate, frame.num_channels) for frame in audio} == {(RATE_HZ, 1)}
        assert sum(len(frame.audio) for frame in audio) / 2 / RATE_HZ == pytest.approx(3.0, abs=1.5)
        assert running.errors == []


@pytest.mark.parametrize("vendor", _CATALOGUE["speech"])
async def test_a_speech_model_calls_a_tool_and_speaks_of_the_answer(bench: Callable[..., Any], vendor: str) -> None:
    """The registered function gets the arguments with their types, once; its answer is taken up when it is asked."""
    called: list[dict[str, Any]] = []

    async def book(params: Any) -> None:
        called.append(dict(params.arguments))
        await params.result_callback({"ok": True})

    conversation = LLMContext()
    replies = [Reply(calls=(Call(name=TOOL, arguments={"day": "monday", "people": 2}),)), Reply(text="Done.")]
    async with serving("speech", vendor, replies=replies) as (options, _):
        line = bench("speech", vendor, options, conversation=conversation)
        line.service.register_function(TOOL, book)
        async with line.running() as running:
            await speak_to(running, "time", 1)
            result = await running.first(FunctionCallResultFrame)
            call = {"name": TOOL, "arguments": '{"day": "monday", "people": 2}'}
            conversation.add_message(
                {"role": "assistant", "tool_calls": [{"id": result.tool_call_id, "function": call, "type": "function"}]}
            )
            conversation.add_message({"role": "tool", "tool_call_id": result.tool_call_id, "content": '{"ok": true}'})
            await running.until(lambda: running.got(LLMFullResponseEndFrame))
            await running.send(LLMContextFrame(conversation))
            await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == 2)
            assert called == [{"day": "monday", "people": 2}]
            assert [frame.text.strip() for frame in running.got(SaidFrame)] == ["Done."]
            assert running.errors == []


@pytest.mark.parametrize("vendor", _CATALOGUE["speech"])
async def test_an_interrupted_reply_is_over(bench: Callable[..., Any], vendor: str) -> None:
    """Nothing of it comes out after the interruption, its end neither; what is asked for then is answered."""
    long = " ".join([ANSWER] * 30)
    async with serving("speech", vendor, replies=[Reply(text=long), Reply(text=ANSWER)]) as (options, fake):
        if fake is not None:
            fake.manners = Manners(pace_s=0.02)
        if vendor == LOCAL:
            hours, *others = options["script"]["intents"]
            options = {"script": {"intents": [{**hours, "says": long}, *others]}}
        async with bench("speech", vendor, options).running() as running:
            await speak_to(running, "day", 1)
            await running.first(TTSAudioRawFrame)
            await running.send(InterruptionFrame())
            await running.first(InterruptionFrame)
            count = len(running.got(TTSAudioRawFrame))
            await running.send(HeardUntilFrame(running.got(TTSStartedFrame)[0].context_id, 100))
            await running.send(SayFrame("Yes?"))
            await running.first(LLMFullResponseEndFrame)
            since = running.got(TTSAudioRawFrame)[count:]
            last = running.got(TTSStartedFrame)[-1].context_id
            assert {frame.context_id for frame in since} == {last}
            assert running.got(SaidFrame)[-1].text.strip() == "Yes?"
            assert running.errors == []


@pytest.mark.parametrize("fault", ["refuse_key", "fail", "stall", "cut"])
@pytest.mark.parametrize(("kind", "vendor"), HOSTED)
async def test_a_failure_is_told_and_nothing_hangs(
    bench: Callable[..., Any], kind: Kind, vendor: str, fault: Any
) -> None:
    """Whatever goes wrong at the vendor becomes an error of the pipeline within its deadline, and the pipeline ends."""
    async with serving(kind, vendor) as (options, fake):
        fake.manners = Manners(fault=fault)
        async with bench(kind, vendor, options).running() as running:
            await give_work(running, kind)
            error = await running.error()
            assert error.error
