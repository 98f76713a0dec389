"""Places in an agent's texts are filled on every call alike, and nothing that is not a place is touched."""

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from turncall_proto import template
from turncall_proto.agent import AgentSpec, Cascade, EndCallTool, Guardrails, VendorRef, WebhookTool
from turncall_proto.call import CallStart
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId

EVENING = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)


def an_agent(**fields: Any) -> AgentSpec:
    vendor = VendorRef(vendor="local", options={"greeting": "Hello {{slot}}"})
    return AgentSpec(pipeline=Cascade(stt=vendor, llm=vendor, tts=vendor), **fields)


def a_call(agent: AgentSpec, **fields: Any) -> CallStart:
    whole: dict[str, Any] = {
        "call_id": CallId("call_1"),
        "project_id": ProjectId("prj_1"),
        "epoch": 1,
        "agent_id": AgentId("agt_1"),
        "version_id": VersionId("ver_1"),
        "channel": "phone",
        "direction": "inbound",
        "from_number": "+15550001",
        "to_number": "+15550002",
        "provider": "twilio",
        "provider_call_id": "CA1",
        "planned_at": EVENING,
    }
    return CallStart(agent=agent, **whole | fields)


def test_every_text_is_filled_and_no_option_is() -> None:
    """Prompt, first message and tool descriptions are texts; what a vendor's options hold in braces is the vendor's."""
    tool = EndCallTool(description="Ends it for {{ name }}.")
    agent = an_agent(prompt="Be kind to {{name}}.", first_message="Hi {{name}}!", tools=(tool,))
    rendered = template.rendered(a_call(agent, variables={"name": "Ada"}))
    assert (rendered.agent.prompt, rendered.agent.first_message) == ("Be kind to Ada.", "Hi Ada!")
    assert rendered.agent.tools[0].description == "Ends it for Ada."
    assert rendered.agent.pipeline == agent.pipeline
    assert rendered.missing == ()


def test_the_call_says_more_than_the_default() -> None:
    """A default stands until the call brings another value along."""
    agent = an_agent(first_message="{{greeting}} {{name}}", variables={"greeting": "Hello", "name": "you"})
    assert template.rendered(a_call(agent)).agent.first_message == "Hello you"
    assert template.rendered(a_call(agent, variables={"name": "Ada"})).agent.first_message == "Hello Ada"


def test_what_nothing_fills_is_empty_and_named() -> None:
    """A caller never hears a pair of braces; the operator reads which names were missing."""
    rendered = template.rendered(a_call(an_agent(prompt="{{plan}}", first_message="Hello {{name}}{{name}}.")))
    assert rendered.agent.first_message == "Hello ."
    assert rendered.missing == ("plan", "name")


def test_a_value_is_not_a_template() -> None:
    """What a caller's name holds cannot pull in another value."""
    agent = an_agent(first_message="{{name}}", variables={"secret": "42"})
    assert template.rendered(a_call(agent, variables={"name": "{{secret}}"})).agent.first_message == "{{secret}}"


def test_keys_of_the_caller_are_filled_in_where_a_tool_is_used() -> None:
    """They are known to no text but a bound argument, and to no value that names them."""
    bound = {"card": "{{call.keys}}", "name": "{{name}} {{call.keys}}"}
    tool = WebhookTool(name="pay", description="Pays {{call.keys}}.", url="https://example.com", bound=bound)
    rendered = template.rendered(a_call(an_agent(tools=(tool,)), variables={"name": "{{call.keys}}!"}))
    (told,) = rendered.agent.tools
    assert told.description == "Pays ."
    assert [template.with_keys(text, "4711") for text in told.bound.values()] == ["4711", "! 4711"]
    assert rendered.missing == ()
    known = {text.path: template.is_known(template.KEYS, text) for text in template.texts(an_agent(tools=(tool,)))}
    assert [path for path, is_known in known.items() if is_known] == ["tools[0].bound.card", "tools[0].bound.name"]


def test_other_braces_stay() -> None:
    """JSON, code and arithmetic in a prompt are left as they are written."""
    prompt = 'Answer {"a": {"b": 1}} or {{ 1 + 1 }} or {{a-b}} or {name}.'
    assert template.rendered(a_call(an_agent(prompt=prompt))).agent.prompt == prompt


def test_built_in_names_tell_the_call() -> None:
    """The numbers as the agent sees them, and the moment the call began, where the agent is."""
    text = "{{call.caller_number}} {{call.our_number}} {{call.date}} {{call.time}} {{call.weekday}} {{call.direction}}"
    agent = an_agent(prompt=f"{text} {{{{call.id}}}} {{{{call.channel}}}}", timezone="Asia/Tokyo")
    inbound = template.rendered(a_call(agent)).agent.prompt
    assert inbound == "+15550001 +15550002 2026-11-23 07:30 Monday inbound call_1 phone"
    outbound = template.rendered(a_call(agent, direction="outbound")).agent.prompt
    assert outbound.startswith("+15550002 +15550001")


def test_every_epoch_of_a_call_renders_the_same() -> None:
    """A worker that goes on with a call an hour later speaks with the agent that the caller knows."""
    first = a_call(an_agent(prompt="It is {{call.time}}."), called_at=EVENING)
    later = replace(first, epoch=2, planned_at=EVENING.replace(hour=23))
    assert template.rendered(later).agent == template.rendered(first).agent


def test_names_without_default_are_found() -> None:
    """Validation names what a call must bring along, each once, and not what is built in."""
    agent = an_agent(prompt="{{a}} {{b}} {{a}} {{call.id}}", first_message="{{c}}", variables={"b": ""})
    assert template.undefined(agent) == ("a", "c")


def test_what_the_agent_is_to_know_ends_its_prompt_as_it_stands() -> None:
    """It is text of the user's server: nothing in it is filled in; without a prompt it is the whole prompt."""
    known = "Ada is a {{patient}} customer."
    told = template.rendered(a_call(an_agent(prompt="Be kind to {{name}}."), knowledge_context=known))
    assert told.agent.prompt == "Be kind to .\n\n" + known
    assert told.missing == ("name",)
    assert template.rendered(a_call(an_agent(), knowledge_context=known)).agent.prompt == known


def test_what_an_agent_must_not_speak_about_has_the_last_word() -> None:
    """Behind the prompt and what the call brings along; without such topics the prompt stays as it was written."""
    agent = an_agent(prompt="Be kind.", guardrails=Guardrails(prohibited_topics=("politics", "medical advice")))
    prompt = template.rendered(a_call(agent, knowledge_context="She is a member.")).agent.prompt
    written, known, limits = prompt.split("\n\n")
    assert (written, known) == ("Be kind.", "She is a member.")
    assert "- politics\n- medical advice\n" in limits
    assert template.rendered(a_call(an_agent(prompt="Be kind."))).agent.prompt == "Be kind."
