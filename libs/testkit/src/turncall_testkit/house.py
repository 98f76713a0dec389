"""Pytest plugin: a whole installation, both planes as processes, with the carrier in the tests' own."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from importlib.resources import files

import pytest
import pytest_asyncio
from msgspec import Struct
from msgspec.structs import replace

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget, AgentView, CallView, NumberView
from turncall.demo.desk import Desk, desk_at_work
from turncall.demo.provision import receptionist
from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall_devstack.stack import DevStack
from turncall_phone.accounts import Account
from turncall_phone.caller import AnyStep, Say, WaitForAgent, WaitForHangUp
from turncall_phone.calls import Call
from turncall_phone.carrier import Carrier
from turncall_phone.journal import ScriptEnded
from turncall_phone.meta import App, BusinessPhone, Meta
from turncall_proto.agent import AgentSpec, Analysis, Cascade

ACCOUNT = Account(
    sid="AC" + "5" * 32,
    auth_token="a-token-of-the-tests",
    numbers=tuple(f"+1555010{line:04}" for line in range(80)),
)
SECOND_ACCOUNT = Account(
    sid="AC" + "6" * 32, auth_token="an-own-token-that-nobody-may-see", numbers=("+15550300001", "+15550300002")
)
"""For a project that brings its own; the installation does not know it."""
SENDER = BusinessPhone(id="5500", number="15550400001", token="a-token-of-the-tests-graph")
"""The number of the project's WhatsApp sender, and its emulated owner's words."""
APP_SECRET = "an-app-secret-of-the-tests"
CALLER = "+15550190000"
SLOTS = 30


class House(Struct, frozen=True, kw_only=True):
    """An installation with one project, and the carrier that it is connected to."""

    installation: Installation
    carrier: Carrier
    meta: Meta
    api: TurnCall
    desk: Desk
    tool_url: str
    servers: DevStack
    free_numbers: Iterator[str]

    async def answering(self, agent: AgentSpec, *, name: str) -> tuple[AgentView, NumberView]:
        """A published agent behind a number that no other test uses."""
        made = await self.api.create_agent(name, agent)
        await self.api.publish_agent(made.id)
        return made, await self.api.bind_number(next(self.free_numbers), AgentTarget(agent_id=made.id))

    async def dial(self, number: NumberView, script: Sequence[AnyStep], *, caller: str = CALLER) -> Call:
        """A caller who follows ``script``; returns while it rings."""
        return await self.carrier.dial(to=number.e164, from_=caller, script=script)

    async def live(self, call: Call) -> CallView:
        """The call as the API shows it, once its agent is live."""
        async with asyncio.timeout(10):
            while True:
                found = [view for view in (await self.api.calls()).items if view.provider_call_id == call.sid]
                if found and found[0].started_at is not None:
                    return found[0]
                await asyncio.sleep(0.05)

    async def record_of(self, call: Call) -> CallView:
        """The call as the API shows it, once ``call.ended`` has been stated."""
        page = await self.api.calls(limit=200)
        found = next(view for view in page.items if view.provider_call_id == call.sid)
        async for _ in self.api.follow(found.id):
            pass
        return await self.api.call(found.id)


async def reached(house: House, person: str) -> Call:
    """The carrier's call to a person, once it was placed."""
    async with asyncio.timeout(30):
        while True:
            found = [call for call in house.carrier.calls if call.to == person]
            if found:
                return found[0]
            await asyncio.sleep(0.1)


def script_failure(call: Call) -> str | None:
    """What the caller waited for in vain; None when nothing was."""
    return next((entry.fact.failure for entry in call.journal if isinstance(entry.fact, ScriptEnded)), None)


def said(name: str) -> Say:
    """One of the demonstration's recordings."""
    return Say(wav=str(files("turncall.demo").joinpath("caller", f"{name}.wav")))


def conversation(*names: str) -> list[AnyStep]:
    """Wait for the agent and answer with one recording after another, then wait to be hung up on."""
    steps: list[AnyStep] = []
    for name in names:
        steps += [WaitForAgent(), said(name)]
    return [*steps, WaitForHangUp()]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """An installation over servers of its own, since a projector takes every fact on its bus. Its logs are kept."""
    folder = tmp_path_factory.mktemp("house")
    async with (
        DevStack(folder / "stack", durable=False) as servers,
        Carrier([ACCOUNT, SECOND_ACCOUNT]) as carrier,
        Meta(App(secret=APP_SECRET), [SENDER]) as meta,
        desk_at_work() as (desk, tool_url),
    ):
        account = CarrierAccount(base_url=carrier.base_url, account_sid=ACCOUNT.sid, auth_token=ACCOUNT.auth_token)
        extra = {"TURNCALL_HANDOVER_AFTER_S": "1", "TURNCALL_WHATSAPP_BASE_URL": meta.base_url}
        async with Installation(folder, servers.urls, servers.keys, account, slots=SLOTS, extra=extra) as installation:
            async with TurnCall(installation.control_url, platform_key=servers.keys.platform_key) as operator:
                project = await operator.create_project("System tests")
                key = await operator.create_first_key(project.id, "tests", "admin")
            async with TurnCall(installation.control_url, key=key.secret) as api:
                desk.trust((await api.signing_secret(project.id)).secret)
                await api.put_whatsapp_sender(SENDER.id, SENDER.token, APP_SECRET, "a-verify-token")
                webhook_url = f"{installation.control_url}/webhooks/whatsapp/{project.id}"
                meta.app = App(secret=APP_SECRET, webhook_url=webhook_url)
                yield House(
                    installation=installation,
                    carrier=carrier,
                    meta=meta,
                    api=api,
                    desk=desk,
                    tool_url=tool_url,
                    servers=servers,
                    free_numbers=iter(ACCOUNT.numbers),
                )


@pytest.fixture
def agent(house: House) -> AgentSpec:
    """The demonstration's receptionist."""
    return receptionist(house.tool_url)


def readable(agent: AgentSpec) -> AgentSpec:
    """The agent, whose model reads its calls too: the script of the local one answers the question for an analysis."""
    assert isinstance(agent.pipeline, Cascade)
    llm = agent.pipeline.llm
    reading = {
        "name": "analysis",
        "hears": ["analyse this conversation now and answer with one json object that fits the schema"],
        "says": '{"summary": "An appointment was made.", "sentiment": "positive"}',
    }
    script = {**llm.options["script"], "intents": [*llm.options["script"]["intents"], reading]}
    read = replace(llm, options={**llm.options, "script": script})
    return replace(agent, pipeline=replace(agent.pipeline, llm=read), analysis=Analysis())
