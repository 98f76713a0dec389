"""MCP servers, the real thing in a process of its own: what is offered, what is sent, and what a broken one does.

In real time: there are sockets and processes.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from turncall_media.toolservers import servers
from turncall_proto.events import ToolReturned, ToolsDiscovered, UtteranceBegun
from turncall_proto.mcp import McpHttp, McpServer, McpSse, McpStdio

from .both import BOTH

SERVER = Path(__file__).with_name("mcp_server.py")


class Shop:
    """A running server: where it is, and what it was asked."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def a_shop(kind: str, folder: Path) -> AsyncIterator[Shop]:
    log = folder / "asked"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), kind, str(log), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        yield Shop(process, f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}", log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def an_agent(stage: Any, *mcp_servers: McpServer, first_message: str = "") -> Any:
    agent = stage.an_agent(first_message, silence_timeout_ms=100, vad_start_ms=60)
    return replace(agent, mcp_servers=mcp_servers)


@asynccontextmanager
async def a_call(stage: Any, agent: Any, *replies: Any, **resources: Any) -> AsyncIterator[Any]:
    """A call in which the caller has asked for something; ``replies`` are the model's."""
    stage.script.caller, stage.script.replies = ["Please."], list(replies)
    scene = stage.scene(agent, **resources)
    try:
        if "open_secret" in resources:
            scene.plan = replace(scene.plan, server_headers=resources["open_secret"].boxes)
        await scene.begin()
        await scene.carrier.speak(0.2)
        yield scene
        scene.carrier.hang_up()
        await scene.running
    finally:
        scene.carrier.drop()
    await asyncio.sleep(0.05)
    left = [task for task in asyncio.all_tasks() - {asyncio.current_task()} if "mcp" in task.get_name()]
    assert not left, left


class Opened:
    """What control sealed for the media plane, opened."""

    def __init__(self, **boxes: dict[str, str]) -> None:
        self.boxes = {name: name for name in boxes}
        self._boxes = boxes

    def __call__(self, box: str) -> str:
        return json.dumps(self._boxes[box])


def errors(scene: Any) -> list[str]:
    return [fact.output["error"] if not fact.is_ok else "" for fact in scene.facts.of(ToolReturned)]


CRM = McpServer(
    name="crm",
    transport=McpHttp(url="http://127.0.0.1:1/"),
    tools=("find_customer", "order", "fail", "tell", "wait", "drop.all-tables", "refund"),
    bound={"find_customer": {"phone": "{{call.caller_number}}"}, "order": {"who": "{{call.caller_number}}"}},
    most_tools=4,
    timeout_ms=1000,
    max_result_bytes=300,
)


@BOTH
@pytest.mark.proves(
    "agent.mcp_servers.name",
    "agent.mcp_servers.tools",
    "agent.mcp_servers.bound",
    "agent.mcp_servers.most_tools",
    "agent.mcp_servers.timeout_ms",
    "agent.mcp_servers.max_result_bytes",
    "agent.mcp_servers.transport.http.url",
    "agent.mcp_servers.transport.http.headers",
)
async def test_tools_of_a_server_are_the_models_to_use(stage: Any, tmp_path: Path) -> None:
    """Found, filtered, bound, capped; whatever goes wrong is an answer to talk about, up to the server's death."""
    async with a_shop("http", tmp_path) as shop:
        crm = replace(CRM, transport=McpHttp(url=shop.url, headers={"X-Shop": "7"}))
        host = shop.url.split("/")[2]
        opened = Opened(**{host: {"Authorization": "Bearer s3cret"}, "elsewhere.example": {"X-Key": "no"}})
        replies = [
            stage.call("crm_find_customer", {"city": "Oslo"}),
            stage.call("crm_find_customer", {"city": "Oslo", "phone": "+15559999"}),
            stage.call("crm_find_customer", {"city": 7}),
            stage.call("crm_fail", {}),
            stage.call("crm_tell", {"size": 1000}),
            stage.call("crm_wait", {"seconds": 30}),
            stage.call("crm_find_customer", {"city": "Bergen"}),
            "That was all.",
            stage.call("crm_find_customer", {"city": "Oslo"}),
            "It is gone.",
        ]
        async with a_call(stage, an_agent(stage, crm), *replies, open_secret=opened) as scene:
            await scene.carrier.until(lambda: ("agent", "That was all.") in scene.transcript())
            await shop.kill()
            stage.script.caller = ["And now?"]
            await scene.carrier.speak(0.2)
            await scene.carrier.until(lambda: ("agent", "It is gone.") in scene.transcript())

    (discovered,) = scene.facts.of(ToolsDiscovered)
    assert discovered.tools == ("crm_find_customer", "crm_fail", "crm_tell", "crm_wait")
    assert [(left.tool, left.why) for left in discovered.left_out] == [
        ("order", "who is bound, and no text among its arguments"),
        ("drop.all-tables", "4 are the most that this server may offer"),
        ("refund", "the server has no such tool"),
    ]
    assert len(stage.script.tools[0]) == 4

    said = errors(scene)
    assert said[0] == said[4] == said[6] == "", said
    assert said[1] == "The arguments do not fit: phone is not yours to set."
    assert "city: 7 is not of type 'string'" in said[2]
    assert "The shop is closed." in said[3]
    assert "did not answer in time" in said[5]
    assert "cannot be reached" in said[7] or "broke off" in said[7]
    outputs = [fact.output for fact in scene.facts.of(ToolReturned)]
    assert outputs[0] == {"name": "Ada", "phone": "+15550001"}
    assert (outputs[4]["is_truncated"], len(outputs[4]["beginning"])) == (True, 300)

    first, second = shop.asked
    assert [asked["arguments"]["city"] for asked in (first, second)] == ["Oslo", "Bergen"]
    assert first["arguments"]["phone"] == "+15550001"
    assert first["headers"]["x-shop"] == "7"
    assert first["headers"]["authorization"] == "Bearer s3cret"
    assert "x-key" not in first["headers"]
    assert first["meta"]["turncall/idempotency_key"].startswith("tool-")


@pytest.mark.proves("agent.mcp_servers.transport.sse.url", "agent.mcp_servers.transport.sse.headers")
async def test_a_server_that_floods_is_left_and_found_again(stage: Any, tmp_path: Path) -> None:
    """An answer of two megabytes ends the connection, not the call; the next use of a tool connects anew."""
    async with a_shop("sse", tmp_path) as shop:
        crm = replace(CRM, transport=McpSse(url=shop.url, headers={"X-Shop": "7"}), timeout_ms=10_000)
        replies = [
            stage.call("crm_tell", {"size": 2_000_000}),
            stage.call("crm_find_customer", {"city": "Oslo"}),
            "Done.",
        ]
        async with a_call(stage, an_agent(stage, crm), *replies) as scene:
            await scene.carrier.until(lambda: ("agent", "Done.") in scene.transcript())
    flooded, found = errors(scene)
    assert "broke off, or was more than can be taken" in flooded
    assert found == ""
    assert [asked["headers"]["x-shop"] for asked in shop.asked] == ["7"]


@pytest.mark.proves("agent.mcp_servers.transport.stdio.command")
async def test_programs_are_started_only_by_the_operators_names(
    stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program runs if the operator named it, and no other one does."""
    monkeypatch.setattr(servers, "FOUND_WITHIN_S", 20.0)  # a Python that imports much, on a busy machine
    named = McpServer(name="shop", transport=McpStdio(command="shop"), tools=("order",))
    unnamed = McpServer(name="shell", transport=McpStdio(command="sh"))
    programs = {"shop": (sys.executable, str(SERVER), "stdio", str(tmp_path / "asked"))}
    agent = an_agent(stage, unnamed, named)
    replies = [stage.call("shop_order", {"item": "tea"}), "Done."]
    async with a_call(stage, agent, *replies, mcp_programs=programs) as scene:
        await scene.carrier.until(lambda: ("agent", "Done.") in scene.transcript())
    refused, found = scene.facts.of(ToolsDiscovered)
    assert (refused.server, refused.tools, refused.why) == ("shell", (), "the operator has named no program 'sh'")
    assert found.tools == ("shop_order",)
    assert scene.facts.of(ToolReturned)[0].output == {"result": "Ordered tea."}


async def test_servers_that_are_away_do_not_delay_the_greeting(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One refuses, one is behind the wall, one says nothing: the caller is greeted at once, the model asked a little
    later and without them, and the record says why."""
    monkeypatch.setattr(servers, "FOUND_WITHIN_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = {
            "gone": "http://127.0.0.1:1100/mcp",
            "inside": "http://169.254.169.254/mcp",
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}/mcp",
        }
        agent = an_agent(
            stage,
            *(McpServer(name=name, transport=McpHttp(url=url)) for name, url in addresses.items()),
            first_message="Hello.",
        )
        async with a_call(
            stage, replace(agent, turn_taking=replace(agent.turn_taking, barge_in=True)), "Yes?"
        ) as scene:
            await scene.carrier.until(lambda: ("agent", "Yes?") in scene.transcript())
    found = {fact.server: fact for fact in scene.facts.of(ToolsDiscovered)}
    assert found["gone"].why == "it cannot be reached (ConnectError)"
    assert "internal address" in found["inside"].why
    assert found["silent"].why == "it took too long"
    assert 1400 <= found["silent"].took_ms <= 3000
    (greeted, *_) = scene.facts.of(UtteranceBegun)
    assert greeted.start_ms < 1000
