"""A project with a key and a carrier account of its own, beside one that uses the installation's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest
from aiohttp import web
from msgspec import json
from msgspec.structs import replace
from nats.aio.msg import Msg
from psycopg import AsyncConnection, sql

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget, CallView
from turncall_phone.caller import HangUp, WaitForAgent
from turncall_proto.agent import AgentSpec, Cascade, VendorRef, WebhookTool
from turncall_testkit.house import ACCOUNT, CALLER, SECOND_ACCOUNT, House, said
from turncall_testkit.vendors import Call, OpenAIFake, Reply, openai_fake

VENDOR_KEY = "sk-own-vendor-key-that-nobody-may-see-0123456789"
TOKEN = "Bearer a-token-of-the-users-server-that-nobody-may-see"


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIFake]:
    """A model server that takes the project's key and no other."""
    used = (Call(name="lookup"), Call(name="lookup_elsewhere"))
    replies = [Reply(calls=used), Reply(text="We open at nine.")]
    async with openai_fake(key=VENDOR_KEY, replies=replies) as fake:
        yield fake


@asynccontextmanager
async def users_servers() -> AsyncIterator[tuple[list[str], list[dict[str, str]]]]:
    """The addresses of two servers of the user's, and the headers of each request to them."""
    asked: list[dict[str, str]] = []

    async def look_up(request: web.Request) -> web.Response:
        asked.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response({"opens": "at nine"})

    app = web.Application()
    app.router.add_post("/lookup", look_up)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        for _ in range(2):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield [f"127.0.0.1:{port}" for _, port in runner.addresses], asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def second_project(house: House) -> AsyncIterator[tuple[TurnCall, list[str]]]:
    """A project with a Twilio account and a vendor's key of its own; its secrets, of which no trace may be left."""
    url = house.installation.control_url
    async with TurnCall(url, platform_key=house.servers.keys.platform_key) as operator:
        project = await operator.create_project("With credentials of its own")
        key = await operator.create_first_key(project.id, "tests", "admin")
    async with TurnCall(url, key=key.secret) as api:
        await api.put_twilio_account(SECOND_ACCOUNT.sid, SECOND_ACCOUNT.auth_token)
        await api.put_vendor_key("openai", VENDOR_KEY)
        signing = [(await api.signing_secret(project.id)).secret]
        signing.append((await api.rotate_signing_secret(project.id)).secret)
        yield api, [SECOND_ACCOUNT.auth_token, VENDOR_KEY, TOKEN.removeprefix("Bearer "), *signing]


@asynccontextmanager
async def overheard(house: House) -> AsyncIterator[list[Msg]]:
    """Every message on the bus meanwhile, those on their way into streams included."""
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    connection = await nats.connect(house.servers.urls.nats_url)
    try:
        await connection.subscribe(">", cb=hear)
        await connection.flush()
        yield heard
    finally:
        await connection.close()


async def stored(house: House) -> str:
    """Every row of every table, as text."""
    texts: list[str] = []
    async with await AsyncConnection.connect(house.servers.urls.database_migrate_url) as connection:
        tables = await connection.execute(
            "select relname from pg_class where relkind = 'r' and not relispartition"
            " and relnamespace = 'public'::regnamespace"
        )
        names = [name for (name,) in await tables.fetchall()]
    async with await AsyncConnection.connect(house.servers.urls.database_system_url) as connection:
        for name in set(names) - {"alembic_version"}:
            rows = await connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(name)))
            texts += [row for (row,) in await rows.fetchall()]
    return "\n".join(texts)


async def shown(api: TurnCall, call: CallView) -> str:
    """What the API answers about a call and the credentials behind it."""
    parts = [
        await api.credentials(),
        await api.numbers(),
        await api.agents(),
        await api.call(call.id),
        await api.events(call.id, internal=True),
        await api.transcript(call.id),
        await api.tools(call.id),
        await api.turns(call.id),
    ]
    return "\n".join(json.encode(part).decode() for part in parts)


async def test_own_account_and_key_serve_a_call_and_are_seen_nowhere(
    house: House, agent: AgentSpec, vendor: OpenAIFake
) -> None:
    """Two accounts in one house, each with its calls; no log, message, row or answer holds a secret of the project."""
    assert isinstance(agent.pipeline, Cascade)
    stt, llm = (VendorRef(vendor="openai", options=vendor.options(kind)) for kind in ("stt", "llm"))
    _, installations = await house.answering(agent, name="in the installation's account")
    async with (
        second_project(house) as (api, secrets),
        overheard(house) as messages,
        users_servers() as (hosts, asked_for),
    ):
        await api.put_server_headers(hosts[0], {"Authorization": TOKEN})
        await api.put_server_headers("elsewhere.example", {"Authorization": "Bearer of-no-concern-to-this-agent"})
        tools = tuple(
            WebhookTool(name=name, description="Opening hours.", url=f"http://{host}/lookup")
            for name, host in zip(("lookup", "lookup_elsewhere"), hosts, strict=True)
        )
        keyed = replace(agent, pipeline=replace(agent.pipeline, stt=stt, llm=llm), tools=tools)
        made = await api.create_agent("Own keys", keyed)
        await api.publish_agent(made.id)
        number = await api.bind_number(SECOND_ACCOUNT.numbers[0], AgentTarget(agent_id=made.id))
        script = [WaitForAgent(), said("hours"), WaitForAgent(), HangUp()]
        mine = await house.dial(number, script, caller=CALLER)
        theirs = await house.dial(installations, [WaitForAgent(), HangUp()])
        for call in (mine, theirs):
            await call.ended(timeout_s=120)
        assert (mine.account.sid, theirs.account.sid) == (SECOND_ACCOUNT.sid, ACCOUNT.sid)
        assert await house.record_of(theirs)
        (view,) = (await api.calls()).items
        async for _ in api.follow(view.id):
            pass
        assert vendor.journal
        assert {asked.key for asked in vendor.journal} == {VENDOR_KEY}
        assert {asked["host"]: asked.get("authorization") for asked in asked_for} == {hosts[0]: TOKEN, hosts[1]: None}
        answers, rows = await shown(api, view), await stored(house)
    logs = "\n".join(path.read_text() for path in (house.installation.folder / "logs").iterdir())
    travelled = b"\n".join(message.data for message in messages).decode("utf-8", "replace")
    for text, sign in ((logs, "request"), (travelled, '"type":"call.start"'), (rows, mine.sid), (answers, view.id)):
        assert sign in text, "the scan looks at nothing"
        for secret in secrets:
            assert secret not in text
