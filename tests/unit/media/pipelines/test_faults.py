"""How often a vendor may fail, how a call ends, and what the caller is told."""

import pytest

from turncall_media.errors import WireError
from turncall_media.pipelines.apologies import apology
from turncall_media.pipelines.ending import Ending, StreamEnd
from turncall_media.pipelines.faults import Faults
from turncall_media.report.events import Stage
from turncall_media.seams import Outcome, SocketClosed
from turncall_media.wire.stream import StreamStopped
from turncall_proto.call import CallState, EndedReason


def test_model_gets_one_retry_between_successes() -> None:
    """Two failures in a row are too many; a success in between starts the count again."""
    faults = Faults()
    assert faults.failed("llm", is_usable=True) == "retry"
    faults.worked("llm")
    assert faults.failed("llm", is_usable=True) == "retry"
    assert faults.failed("llm", is_usable=True) == "give_up"


def test_ear_may_fail_twice_in_a_row() -> None:
    """Speech to text reconnects by itself; at the third failure there is nobody listening."""
    faults = Faults()
    assert [faults.failed("stt", is_usable=True) for _ in range(3)] == ["bear", "bear", "give_up"]


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_unusable_vendor_is_given_up_at_once(stage: Stage) -> None:
    """A rejected key stays rejected."""
    assert Faults().failed(stage, is_usable=False) == "give_up"


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (StreamStopped(), CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL),
        (SocketClosed(1006), None, None),
        (WireError("x"), CallState.FAILED, EndedReason.TELEPHONY_FAILED),
    ],
)
async def test_stream_says_how_the_call_ended(
    end: StreamEnd, state: CallState | None, reason: EndedReason | None
) -> None:
    """A stop is a hang-up; a lost socket claims nothing; babble is the carrier's fault."""
    ending = Ending()
    ending.stream_ended(end)
    assert await ending.wait() == Outcome(state=state, reason=reason)


async def test_first_word_stands() -> None:
    """A call ends once, for one reason."""
    ending = Ending()
    ending.because(EndedReason.VENDOR_ERROR)
    ending.stream_ended(StreamStopped())
    assert await ending.wait() == Outcome(state=CallState.FAILED, reason=EndedReason.VENDOR_ERROR)


@pytest.mark.proves("agent.language")
def test_apology_speaks_the_agents_language() -> None:
    """By language, whatever the region; in English where there is none."""
    assert apology("de-AT") == apology("de") != apology("en-US")
    assert apology("fi-FI") == apology("en")
