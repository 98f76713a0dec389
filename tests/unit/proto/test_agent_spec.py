"""An agent's definition refuses what it does not know, by name, and fills in what was left out."""

from typing import Any

import msgspec
import pytest

from turncall_proto.agent import AgentSpec, Cascade, EndCallTool, WebhookTool


def spec(**fields: Any) -> dict[str, Any]:
    pipeline = {"kind": "cascade"} | {stage: {"vendor": "deepgram"} for stage in ("stt", "llm", "tts")}
    return {"pipeline": pipeline} | fields


def read(fields: dict[str, Any]) -> AgentSpec:
    return msgspec.json.decode(msgspec.json.encode(fields), type=AgentSpec)


def test_the_least_definition_has_working_defaults() -> None:
    """Three vendors are enough for an agent."""
    agent = read(spec())

    assert isinstance(agent.pipeline, Cascade)
    assert agent.turn_taking.barge_in
    assert (agent.language, agent.recording, agent.max_duration_s, agent.tools) == ("", "on", 3600, ())


def test_a_definition_survives_its_own_json() -> None:
    """The REST body, the stored column and the call-start event are one shape."""
    tools = [
        {"kind": "end_call"},
        {"kind": "webhook", "name": "book", "description": "Books.", "url": "https://example.com/book"},
    ]
    agent = read(spec(prompt="Be kind.", tools=tools, turn_taking={"silence_timeout_ms": 400}))

    assert msgspec.json.decode(msgspec.json.encode(agent), type=AgentSpec) == agent
    assert [type(tool) for tool in agent.tools] == [EndCallTool, WebhookTool]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (spec(temprature=0.4), "temprature"),
        (spec(turn_taking={"barge": True}), "barge"),
        (spec(tools=[{"kind": "end_call", "speak": True}]), "speak"),
        (spec(pipeline=spec()["pipeline"] | {"speech": {"vendor": "openai"}}), "speech"),
        (spec(pipeline=spec()["pipeline"] | {"llm": {"vendor": "openai", "model": "x"}}), "model"),
    ],
)
def test_an_unknown_field_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    """Nothing is accepted that changes nothing, at any depth, and the error says which field it is."""
    with pytest.raises(msgspec.ValidationError, match=f"unknown field `{name}`"):
        read(fields)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        (spec(pipeline={"kind": "speech"}), "pipeline"),
        (spec(pipeline=spec()["pipeline"] | {"stt": {"vendor": "Deep Gram"}}), "stt.vendor"),
        (spec(first_message="x" * 2001), "first_message"),
        (spec(language="english"), "language"),
        (spec(max_duration_s=5), "max_duration_s"),
        (spec(recording="maybe"), "recording"),
        (spec(turn_taking={"silence_timeout_ms": 20}), "silence_timeout_ms"),
        (spec(turn_taking={"vad_confidence": 1.0}), "vad_confidence"),
        (spec(tools=[{"kind": "webhook", "name": "a", "description": "b", "url": "ftp://x"}]), "url"),
        (spec(tools=[{"kind": "webhook", "name": "Not Snake", "description": "b", "url": "http://x"}]), "name"),
        (spec(tools=[{"kind": "teleport"}]), "tools"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_path(fields: dict[str, Any], path: str) -> None:
    """The error leads to the field."""
    with pytest.raises(msgspec.ValidationError, match=path):
        read(fields)


def test_two_tools_cannot_share_a_name() -> None:
    """The model calls tools by name."""
    with pytest.raises(msgspec.ValidationError, match="distinct names"):
        read(spec(tools=[{"kind": "end_call"}, {"kind": "end_call"}]))
