"""Agents of the local vendors for tests of whole calls, with three vendors or with one model that hears and speaks."""

from typing import Any

from msgspec.structs import replace

from turncall_proto.agent import AgentSpec, Cascade, EndCallTool, SpeechToSpeech, VendorRef


def scripted(
    first_message: str, *intents: dict[str, Any], tools: Any = (), voice: str = "en-us", kind: str = "cascade"
) -> AgentSpec:
    """An agent that knows these intents, and ends the call at a goodbye."""
    goodbye = {"name": "bye", "hears": ["no thank you goodbye", "goodbye"], "says": "Bye.", "then": "end_call"}
    local, model = VendorRef(vendor="local"), VendorRef(vendor="local", options={"script": {"intents": [*intents]}})
    model.options["script"]["intents"].append(goodbye)
    spoken = VendorRef(vendor="local", options={"voice": voice})
    agent = AgentSpec(
        pipeline=Cascade(stt=local, llm=model, tts=spoken),
        first_message=first_message,
        tools=(EndCallTool(), *tools),
    )
    return served_by(agent, kind)


def served_by(agent: AgentSpec, kind: str) -> AgentSpec:
    """The same agent with a pipeline of that kind, which plays the same script."""
    assert isinstance(agent.pipeline, Cascade)
    if kind == "cascade":
        return agent
    script = agent.pipeline.llm.options["script"]
    return replace(agent, pipeline=SpeechToSpeech(model=VendorRef(vendor="local", options={"script": script})))


def knowing(agent: AgentSpec, *intents: dict[str, Any]) -> AgentSpec:
    """An agent of three vendors that knows more."""
    assert isinstance(agent.pipeline, Cascade)
    llm = agent.pipeline.llm
    script = {**llm.options["script"], "intents": [*intents, *llm.options["script"]["intents"]]}
    return replace(agent, pipeline=replace(agent.pipeline, llm=replace(llm, options={**llm.options, "script": script})))


def hears_hours(tool: str, arguments: dict[str, str]) -> dict[str, Any]:
    """The caller's wish to hear the opening hours, with which a tool is called."""
    calls = {"tool": tool, "arguments": arguments, "fails": "That did not work."}
    return {"name": "hours", "hears": ["what are your opening hours"], "calls": calls, "says": "Done."}
