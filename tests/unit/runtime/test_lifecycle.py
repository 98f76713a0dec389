"""How a process starts, drains and stops."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from turncall_runtime.lifecycle import Life, Phase, run


@pytest.fixture
def story() -> list[str]:
    return []


@asynccontextmanager
async def _resource(name: str, story: list[str]) -> AsyncIterator[None]:
    story.append(f"open {name}")
    try:
        yield
    finally:
        story.append(f"close {name}")


async def _until_ready(life: Life) -> None:
    async with asyncio.timeout(5):
        while life.phase is Phase.starting:  # noqa: ASYNC110 - a phase is only ever looked at
            await asyncio.sleep(0)


async def test_term_drains_and_closes_in_reverse(story: list[str]) -> None:
    """SIGTERM lets the work finish, then closes what was opened, last first."""
    life = Life()

    async def start(resources: AsyncExitStack) -> None:
        await resources.enter_async_context(_resource("bus", story))
        await resources.enter_async_context(_resource("sockets", story))

    async def drain() -> None:
        story.append(f"drain while {life.phase}")

    process = asyncio.create_task(run(life, start, drain, drain_timeout_s=5))
    await _until_ready(life)
    os.kill(os.getpid(), signal.SIGTERM)

    assert await process is True
    assert story == ["open bus", "open sockets", "drain while draining", "close sockets", "close bus"]
    assert life.phase is Phase.stopped


async def test_int_stops_without_draining(story: list[str]) -> None:
    """SIGINT closes at once."""
    life = Life()

    async def start(resources: AsyncExitStack) -> None:
        await resources.enter_async_context(_resource("bus", story))

    async def drain() -> None:
        await asyncio.Event().wait()

    process = asyncio.create_task(run(life, start, drain, drain_timeout_s=5))
    await _until_ready(life)
    os.kill(os.getpid(), signal.SIGINT)

    assert await process is False
    assert story == ["open bus", "close bus"]


async def test_int_cuts_a_drain_short(story: list[str]) -> None:
    """An operator who does not want to wait for the calls need not."""
    life, drained = Life(), asyncio.Event()

    async def drain() -> None:
        drained.set()
        async with _resource("work", story):
            await asyncio.Event().wait()

    process = asyncio.create_task(run(life, _nothing, drain, drain_timeout_s=60))
    await _until_ready(life)
    life.drain()
    await drained.wait()
    life.stop()

    assert await process is False
    assert story == ["open work", "close work"]


async def test_a_drain_has_a_deadline() -> None:
    """Work that never ends does not keep the process."""
    life = Life()

    async def drain() -> None:
        await asyncio.Event().wait()

    process = asyncio.create_task(run(life, _nothing, drain, drain_timeout_s=0))
    await _until_ready(life)
    life.drain()

    assert await process is False


async def test_a_signal_ends_a_start_that_hangs(story: list[str]) -> None:
    """A process that waits for its database can be stopped, and closes what it has."""
    life, waiting = Life(), asyncio.Event()

    async def start(resources: AsyncExitStack) -> None:
        await resources.enter_async_context(_resource("bus", story))
        waiting.set()
        await asyncio.Event().wait()

    process = asyncio.create_task(run(life, start, _no_drain, drain_timeout_s=5))
    await waiting.wait()
    life.drain()

    await process
    assert story == ["open bus", "close bus"]


async def test_failures_rise_after_closing(story: list[str]) -> None:
    """What fails at the start or in the drain is not swallowed, and leaves nothing open."""

    async def start(resources: AsyncExitStack) -> None:
        await resources.enter_async_context(_resource("bus", story))
        raise ConnectionError("no database")

    async def failing_drain() -> None:
        raise TimeoutError("the drain's own")

    with pytest.raises(ConnectionError, match="no database"):
        await run(Life(), start, _no_drain, drain_timeout_s=5)
    assert story == ["open bus", "close bus"]

    life = Life()
    process = asyncio.create_task(run(life, _nothing, failing_drain, drain_timeout_s=60))
    await _until_ready(life)
    life.drain()
    with pytest.raises(TimeoutError, match="own"):
        await process


async def test_readiness_tells_the_truth() -> None:
    """Ready means started, not draining, and every check passing; the failing ones are named."""
    life, connected = Life(), [True]
    life.check("nats", lambda: connected[0])
    assert not life.is_ready

    process = asyncio.create_task(run(life, _nothing, _no_drain, drain_timeout_s=5))
    await _until_ready(life)
    assert life.is_ready
    connected[0] = False
    assert life.readiness().failing == ("nats",)
    assert not life.is_ready
    connected[0] = True
    life.drain()
    await process

    assert not life.is_ready


async def _nothing(_: AsyncExitStack) -> None:
    """Opens no resource."""


async def _no_drain() -> None:
    """Has no work."""
