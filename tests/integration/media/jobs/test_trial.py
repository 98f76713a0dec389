"""A scenario's conversation over the path of sessions, and its judge, with models behind their real protocol."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from turncall_media.jobs import judgement, trial
from turncall_media.jobs.shape import Desk, JobPostponed, JobRefused
from turncall_media.text.tally import Tally
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, EndCallTool, VendorRef, WebhookTool
from turncall_proto.call import CallStart, EndedReason
from turncall_proto.ids import CallId, JobId, ProjectId
from turncall_proto.job import JudgementJob, TrialJob
from turncall_proto.mcp import McpHttp, McpServer
from turncall_proto.mock import ToolMock
from turncall_proto.scenario import Persona, SayLine, SaysOneOf, Scenario, Scripted, Talk, TalkTool, TalkTurn
from turncall_testkit.vendors import Call, Manners, OpenAIFake, Reply, openai_fake

PROJECT = ProjectId(ids.mint(ids.PROJECT))
NOWHERE = "http://127.0.0.1:9/"
"""A server that is not there: whoever asks it has not kept to the mocks."""
EXPECTS = (SaysOneOf(any_of=("booked",)),)


def model(fake: OpenAIFake) -> VendorRef:
    return VendorRef(vendor="openai", options=fake.options("llm"))


def header() -> dict[str, Any]:
    return {
        "job_id": JobId(ids.mint(ids.JOB)),
        "project_id": PROJECT,
        "planned_at": datetime.now(UTC),
        "secrets": {"openai": "a-key"},
        "own_vendors": ("openai",),
    }


def job(fake: OpenAIFake, caller: Scripted | Persona, *mocks: ToolMock, **more: Any) -> TrialJob:
    """A trial of an agent that books by a webhook, and greets."""
    day = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
    book = WebhookTool(name="book", description="Books.", url=f"{NOWHERE}book", parameters=day)
    local = VendorRef(vendor="local")
    agent = AgentSpec(
        pipeline=Cascade(stt=local, llm=model(fake), tts=local),
        language="en-US",
        first_message="Hello {{who}}.",
        tools=(EndCallTool(), book),
        **more,
    )
    scenario = Scenario(name="Books", caller=caller, expects=EXPECTS, mocks=mocks, variables={"who": "Ada"})
    given = header()
    plan = CallStart(
        call_id=CallId(ids.mint(ids.TRIAL)),
        epoch=1,
        agent_id=None,
        version_id=None,
        agent=agent,
        channel="chat",
        direction="inbound",
        from_number="test",
        to_number="",
        provider="test",
        provider_call_id="",
        variables=scenario.variables,
        **{name: value for name, value in given.items() if name != "job_id"},
    )
    return TrialJob(**given, plan=plan, scenario=scenario)


def script(*lines: str) -> Scripted:
    return Scripted(steps=tuple(SayLine(text=line) for line in lines))


def uses(tool: str, **arguments: Any) -> Reply:
    return Reply(calls=(Call(name=tool, arguments=arguments),))


async def test_a_conversation_is_had_line_by_line_with_mocks_in_the_place_of_tools(desk: Desk) -> None:
    """The n-th use gets the n-th answer that fits, a mock may fail, and end_call ends it before the script does."""
    replies = [
        uses("book", day="Friday"),
        Reply(text="Friday is full."),
        uses("book", day="Tuesday"),
        Reply(text="It did not work."),
        uses("book", day="Tuesday"),
        Reply(text="Booked."),
        Reply(text="Goodbye.", calls=(Call(name="end_call"),)),
    ]
    mocks = (
        ToolMock(tool="book", arguments={"day": "Friday"}, answer={"is_full": True}),
        ToolMock(tool="book", arguments={"day": "Tuesday"}, fails="The desk is closed."),
        ToolMock(tool="book", arguments={"day": "Tuesday"}, answer={"number": 7}),
    )
    async with openai_fake(replies=replies) as fake:
        order = job(fake, script("Friday?", "Tuesday?", "Try again", "Bye", "Never said"), *mocks)
        tally = Tally()
        talk = (await trial.run(order, desk, tally)).talk
        last = fake.journal[-1].fields["messages"]
    assert [(turn.caller, turn.agent) for turn in talk.turns] == [
        ("", "Hello Ada."),
        ("Friday?", "Friday is full."),
        ("Tuesday?", "It did not work."),
        ("Try again", "Booked."),
        ("Bye", "Goodbye."),
    ]
    used = [(tool.tool, tool.is_ok, tool.output) for turn in talk.turns for tool in turn.tools]
    assert used == [
        ("book", True, {"is_full": True}),
        ("book", False, {"error": "The desk is closed."}),
        ("book", True, {"number": 7}),
        ("end_call", True, {"ended": True}),
    ]
    assert talk.ended is EndedReason.ASSISTANT_ENDED_CALL
    assert talk.turns[0].latency_ms is None
    assert all(turn.latency_ms is not None for turn in talk.turns[1:])
    assert [message["content"] for message in last if message["role"] == "assistant" and message.get("content")] == [
        "Hello Ada.",
        "Friday is full.",
        "It did not work.",
        "Booked.",
    ]
    assert tally.used[0].output_tokens > 0


@pytest.mark.parametrize("mocks", [(), (ToolMock(tool="book", arguments={"day": "Monday"}),)], ids=["none", "other"])
async def test_a_tool_without_a_mock_that_fits_ends_the_trial(desk: Desk, mocks: tuple[ToolMock, ...]) -> None:
    """It is neither used nor made up, and the result says which use that was."""
    async with openai_fake(replies=[uses("book", day="Tuesday"), Reply(text="Booked.")]) as fake:
        talk = (await trial.run(job(fake, script("Tuesday?", "Thanks"), *mocks), desk, Tally())).talk
    assert talk.unmocked == 'book({"day":"Tuesday"})'
    assert len(talk.turns) == 2


async def test_a_tool_of_an_mcp_server_is_offered_by_its_mock(desk: Desk) -> None:
    """The server is not asked; what the mock says of the tool is what the model is told."""
    server = McpServer(name="crm", transport=McpHttp(url=f"{NOWHERE}mcp"))
    parameters = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    mock = ToolMock(tool="find", description="Finds.", parameters=parameters, answer={"id": 7})
    replies = [uses("find", name="Ada"), Reply(text="Found.")]
    async with openai_fake(replies=replies) as fake:
        talk = (await trial.run(job(fake, script("Who am I?"), mock, mcp_servers=(server,)), desk, Tally())).talk
        offered = {tool["function"]["name"]: tool["function"] for tool in fake.journal[0].fields["tools"]}
    async with openai_fake(replies=[Reply(text="No.")]) as fake:
        await trial.run(job(fake, script("Who am I?"), mock), desk, Tally())
        without = {tool["function"]["name"] for tool in fake.journal[0].fields["tools"]}
    assert offered["find"]["description"] == "Finds."
    assert offered["find"]["parameters"]["required"] == ["name"]
    assert [tool.output for tool in talk.turns[-1].tools] == [{"id": 7}]
    assert without == {"book", "end_call"}, "an agent without servers has no such tool"


async def test_a_persona_talks_until_it_hangs_up(desk: Desk) -> None:
    """It knows its goal and hears the agent as the other side; what it says behind its goodbye is not said."""
    lines = [Reply(text="A table, please."), Reply(text="Thanks, bye."), Reply(text="[hang up]")]
    async with (
        openai_fake(replies=[Reply(text="When?"), Reply(text="Booked.")]) as fake,
        openai_fake(replies=lines) as player,
    ):
        persona = Persona(who="Curt.", goal="A table for two.", model=model(player))
        talk = (await trial.run(job(fake, persona), desk, Tally())).talk
        asked = player.journal[1].fields["messages"]
    assert [turn.caller for turn in talk.turns] == ["", "A table, please.", "Thanks, bye."]
    assert talk.ended is EndedReason.CUSTOMER_ENDED_CALL
    assert "A table for two." in asked[0]["content"]
    assert [(message["role"], message["content"]) for message in asked[1:]] == [
        ("user", "Hello Ada."),
        ("assistant", "A table, please."),
        ("user", "When?"),
    ]
    async with openai_fake(replies=[Reply(text="Go on.")]) as fake, openai_fake(replies=[Reply(text="So.")]) as player:
        short = Persona(who="Curt.", goal="A table.", model=model(player), most_lines=2)
        talk = (await trial.run(job(fake, short), desk, Tally())).talk
    assert [turn.caller for turn in talk.turns] == ["", "So.", "So."]


async def test_a_model_that_fails_decides_nothing(desk: Desk) -> None:
    """Neither the agent's nor the caller's: what may pass is tried again, what may not is the trial's error."""
    async with openai_fake(replies=[Reply(text="Yes.")]) as fake, openai_fake() as player:
        player.manners = Manners(fault="refuse_key")
        persona = Persona(who="Curt.", goal="A table.", model=model(player))
        with pytest.raises(JobRefused):
            await trial.run(job(fake, persona), desk, Tally())
        fake.manners = Manners(fault="fail")
        with pytest.raises(JobPostponed):
            await trial.run(job(fake, script("Hello")), desk, Tally())


TALK = Talk(
    turns=(
        TalkTurn(caller="", agent="Hello."),
        TalkTurn(
            caller="Tuesday?",
            agent="Booked.",
            tools=(TalkTool(tool="book", arguments={"day": "Tuesday"}, is_ok=True, output={"number": 7}),),
        ),
    ),
    ended=EndedReason.CUSTOMER_ENDED_CALL,
)
FOUND = {
    "statement_1": {"why": "It books at once.", "holds": True},
    "statement_2": {"why": "It says no name.", "holds": False},
}


def judging(*fakes: OpenAIFake) -> JudgementJob:
    models = tuple(map(model, fakes))
    rubrics = ("It books.", "It says the caller's name.")
    return JudgementJob(**header(), models=models, language="en-US", rubrics=rubrics, talk=TALK)


async def test_a_judge_reads_everything_and_finds_each_rubric(desk: Desk) -> None:
    """With what the tools did; an answer that does not fit is shown to it once more."""
    async with openai_fake(replies=[Reply(text="All good!"), Reply(text=f"```json\n{json.dumps(FOUND)}\n```")]) as fake:
        done = await judgement.run(judging(fake), desk, Tally())
        told = "\n".join(message["content"] for message in fake.journal[0].fields["messages"])
        again = fake.journal[1].fields["messages"][-1]["content"]
    assert [(finding.holds, finding.why) for finding in done.findings] == [
        (True, "It books at once."),
        (False, "It says no name."),
    ]
    assert "statement_2: It says the caller's name." in told
    assert 'tool book({"day": "Tuesday"}) answered {"number": 7}' in told
    assert "agent: Booked." in told
    assert "no JSON object" in again


@pytest.mark.parametrize(
    "nonsense",
    [
        "It passes.",
        json.dumps({**FOUND, "statement_2": {"why": "Fine.", "holds": "yes"}}),
        json.dumps({"statement_1": FOUND["statement_1"]}),
        json.dumps({**FOUND, "statement_3": FOUND["statement_1"]}),
        json.dumps({**FOUND, "statement_1": {"why": "", "holds": True}}),
        json.dumps([True, True]),
    ],
    ids=["words", "no boolean", "one too few", "one too many", "no reason", "a list"],
)
async def test_a_judge_that_makes_no_sense_judges_nothing(desk: Desk, nonsense: str) -> None:
    """However often it is asked: it is an error and never a pass."""
    async with openai_fake(replies=[Reply(text=nonsense)]) as fake:
        with pytest.raises(JobRefused, match="does not fit"):
            await judgement.run(judging(fake), desk, Tally())
