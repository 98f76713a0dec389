"""What a scripted caller does on the phone, step by step."""

from turncall_control.suites.lines import HangUp, Interrupt, Noise, Pause, Press, Say, WaitForAgent, WaitForSilence
from turncall_control.suites.playing import acts
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.scenario import (
    InterruptAgent,
    PressKeys,
    SayLine,
    SaysOneOf,
    Scenario,
    Scripted,
    Sound,
    StaySilent,
    Step,
)

LOCAL = VendorRef(vendor="local")
PIPELINE = Cascade(stt=LOCAL, llm=LOCAL, tts=LOCAL)


def scenario(*steps: Step, sound: Sound | None = None) -> Scenario:
    return Scenario(
        name="A caller",
        caller=Scripted(steps=steps),
        sound=sound or Sound(),
        expects=(SaysOneOf(any_of=("hello",)),),
    )


def test_each_step_waits_for_the_agent_but_one_that_speaks_over_it() -> None:
    """Noise comes first, each line is in the caller's voice, and nobody need say a word to a silence."""
    played = acts(
        scenario(
            SayLine(text="Hello."),
            InterruptAgent(text="Wait.", after_ms=400),
            StaySilent(length_ms=2500),
            PressKeys(digits="12#"),
            sound=Sound(voice="en-gb", noise_snr_db=15),
        ),
        AgentSpec(pipeline=PIPELINE, first_message="Good morning."),
    )
    assert [type(act) for act in played] == [
        Noise,
        *(WaitForAgent, Say),
        Interrupt,
        *(WaitForAgent, Pause),
        *(WaitForSilence, Press),
        *(WaitForAgent, HangUp),
    ]
    assert played[0] == Noise(snr_db=15)
    assert played[2] == Say(text="Hello.", voice="en-gb")
    interrupt, pause, press = played[3], played[5], played[7]
    assert isinstance(interrupt, Interrupt)
    assert isinstance(pause, Pause)
    assert isinstance(press, Press)
    assert (interrupt.say, interrupt.after_ms) == (Say(text="Wait.", voice="en-gb"), 400)
    assert (pause.length_s, press.digits) == (2.5, "12#")


def test_a_caller_speaks_first_to_an_agent_that_does_not() -> None:
    """Waiting for a greeting that never comes, both would be silent."""
    first, said, *_ = acts(scenario(SayLine(text="Hello.")), AgentSpec(pipeline=PIPELINE))
    assert isinstance(first, Pause)
    assert said == Say(text="Hello.")
