"""What ``turncall capacity`` measures of an agent, and where it writes the outcome."""

import pytest

from turncall.capacity.run import NotMeasured, prepared, with_slots
from turncall.capacity.vendors import HEARD
from turncall_proto.agent import (
    AgentSpec,
    Analysis,
    Background,
    Cascade,
    EndCallTool,
    SpeechToSpeech,
    TurnTaking,
    VendorRef,
)

SIMULATED = Cascade(stt=VendorRef(vendor="a"), llm=VendorRef(vendor="b"), tts=VendorRef(vendor="c"))
REAL = Cascade(stt=VendorRef(vendor="whisper"), llm=VendorRef(vendor="anthropic"), tts=VendorRef(vendor="azure"))


def test_an_agent_keeps_what_costs_the_worker_and_loses_what_reaches_out() -> None:
    """Turn taking, recording, prompt and tools stay; vendors, analysis and background do not, and that is said."""
    agent = AgentSpec(
        pipeline=REAL,
        prompt="Be kind.",
        turn_taking=TurnTaking(end_of_turn="smart", min_words=2),
        recording="on_consent",
        max_duration_s=60,
        tools=(EndCallTool(),),
        background=Background(),
        analysis=Analysis(),
    )
    measurable = prepared(agent, SIMULATED)

    assert measurable.agent.pipeline == SIMULATED
    assert measurable.agent.turn_taking == agent.turn_taking
    assert measurable.agent.prompt == agent.prompt
    assert measurable.agent.tools == agent.tools
    assert measurable.agent.recording == "on"
    assert measurable.agent.max_duration_s > 3600
    assert (measurable.agent.background, measurable.agent.analysis) == (None, None)
    assert [what.split()[0] for what in measurable.left_out] == [
        "whisper",
        "anthropic",
        "azure",
        "tools:",
        "background",
        "analysis",
    ]
    assert len(HEARD.split()) > agent.turn_taking.min_words  # a simulated caller is understood to have said enough


def test_recording_that_is_off_stays_off() -> None:
    """It costs nothing then."""
    assert prepared(AgentSpec(pipeline=REAL, recording="off"), SIMULATED).agent.recording == "off"


def test_a_model_that_hears_and_speaks_is_not_measured() -> None:
    """Rather than something else in its place."""
    with pytest.raises(NotMeasured, match="cannot be measured"):
        prepared(AgentSpec(pipeline=SpeechToSpeech(model=VendorRef(vendor="openai"))), SIMULATED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "TURNCALL_SLOTS=48\n"),
        ("A=1", "A=1\nTURNCALL_SLOTS=48\n"),
        ("A=1\n# TURNCALL_SLOTS=20\nB=2\n", "A=1\nTURNCALL_SLOTS=48\nB=2\n"),
        ("TURNCALL_SLOTS=7\nTURNCALL_SLOTS_OF_OTHERS=1\n", "TURNCALL_SLOTS=48\nTURNCALL_SLOTS_OF_OTHERS=1\n"),
    ],
)
def test_slots_are_written_where_they_are_set(before: str, after: str) -> None:
    """In the place of what sets or comments them, or at the end."""
    assert with_slots(before, 48) == after
