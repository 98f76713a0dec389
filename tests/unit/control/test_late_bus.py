"""A bus that comes late: refused while it is away, complete once it is there."""

import asyncio

import pytest

from turncall_bus.bus import Away, NoAnswer, NobodyListens, Subscription
from turncall_bus.memory import MemoryBus
from turncall_control import late_bus
from turncall_control.late_bus import LateBus


async def test_what_needs_the_bus_fails_at_once_while_it_is_away():
    """Asking, telling, publishing and reading raise; nothing is kept to be said later."""
    late = LateBus()
    assert late.is_connected is False
    for attempt in (
        late.tell("a", b""),
        late.ask("a", b"", timeout_s=1),
        late.publish("a", b"", message_id="1"),
        late.last("a"),
        late.story("a"),
        late.purge("a"),
        late.prepare(()),
    ):
        with pytest.raises(Away):
            await attempt
    await late.close()


async def test_subscriptions_asked_for_early_begin_with_the_connection():
    """What was to be heard and served is, once the bus arrives, without asking again."""
    late, bus = LateBus(), MemoryBus()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(_: str, data: bytes) -> None:
        heard.put_nowait(data)

    async def answer(data: bytes) -> bytes:
        return data.upper()

    hearing = await late.hear("news", hear)
    serving = await late.serve("shout", answer)
    late.arrived(bus)
    assert late.is_connected
    async with asyncio.timeout(5):
        while True:
            try:
                assert await late.ask("shout", b"hi", timeout_s=1) == b"HI"
                break
            except NobodyListens:
                await asyncio.sleep(0)
        await late.tell("news", b"one")
        assert await heard.get() == b"one"
    await hearing.close()
    await serving.close()
    await hearing.close()
    with pytest.raises(NobodyListens):
        await late.ask("shout", b"hi", timeout_s=1)
    await late.close()


async def test_subscription_closed_before_the_connection_never_begins():
    """Closing what still waits is enough: the bus is not asked for it later."""
    late, bus = LateBus(), MemoryBus()

    async def answer(data: bytes) -> bytes:
        return data

    serving = await late.serve("a", answer)
    await serving.close()
    late.arrived(bus)
    await asyncio.sleep(0)
    with pytest.raises(NobodyListens):
        await late.ask("a", b"", timeout_s=1)
    await late.close()


async def test_subscription_that_cannot_begin_is_tried_again(monkeypatch):
    """A stream without a leader at the first try only delays a consumer."""
    monkeypatch.setattr(late_bus, "RETRY_S", 0)
    late, bus = LateBus(), MemoryBus()
    tries = 0
    begun = asyncio.Event()

    async def consume(*_: object, **__: object) -> Subscription:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise NoAnswer("no leader")
        begun.set()
        return await bus.serve("a", answer)

    async def answer(data: bytes) -> bytes:
        return data

    async def handle(_: object) -> None: ...

    monkeypatch.setattr(bus, "consume", consume)
    consuming = await late.consume("TC_CALLS", "projector", handle, subject=">")
    late.arrived(bus)
    async with asyncio.timeout(5):
        await begun.wait()
    await consuming.close()
    assert tries == 3
    await late.close()
