"""What the spool may forget, and what it must say again."""

import asyncio

from turncall_bus.memory import MemoryBus
from turncall_media.report.settlement import EVERY_S, keep_settling, settle
from turncall_proto.codec import decode, encode
from turncall_proto.command import MissingFacts, SettlementAnswered, SettlementAsked, SpooledEpoch
from turncall_proto.ids import CallId
from turncall_proto.subjects import act
from turncall_testkit import virtual_time

LIVE = SpooledEpoch(call_id=CallId("call_live"), epoch=1, last_seq=9)
SAFE = SpooledEpoch(call_id=CallId("call_safe"), epoch=1, last_seq=3)
HOLED = SpooledEpoch(call_id=CallId("call_holed"), epoch=2, last_seq=5)


class Shelf:
    """A spool of three epochs that remembers what it was told."""

    def __init__(self) -> None:
        self.held = [LIVE, SAFE, HOLED]
        self.settled: list[SpooledEpoch] = []
        self.repeated: list[tuple[str, int, tuple[int, ...]]] = []

    def epochs(self) -> list[SpooledEpoch]:
        return list(self.held)

    def settle(self, epochs) -> None:
        self.settled += epochs

    def again(self, call_id, epoch, seqs) -> None:
        self.repeated.append((call_id, epoch, tuple(seqs)))


def is_live(call_id: CallId, epoch: int) -> bool:
    return call_id == LIVE.call_id


async def control(bus: MemoryBus, answer: bytes) -> list[SettlementAsked]:
    asked: list[SettlementAsked] = []

    async def answering(data: bytes) -> bytes:
        asked.append(decode(data, SettlementAsked))
        return answer

    await bus.serve(act("settlement"), answering)
    return asked


async def test_settled_epochs_go_and_missing_facts_are_repeated():
    """Only ended epochs are asked about; control's answer is carried out."""
    bus, shelf = MemoryBus(), Shelf()
    missing = MissingFacts(call_id=HOLED.call_id, epoch=2, seqs=(2, 4))
    asked = await control(bus, encode(SettlementAnswered(settled=(SAFE,), missing=(missing,))))
    await settle(shelf, bus, is_live)
    assert [one.epochs for one in asked] == [(SAFE, HOLED)]
    assert shelf.settled == [SAFE]
    assert shelf.repeated == [(HOLED.call_id, 2, (2, 4))]


async def test_an_empty_shelf_asks_nothing():
    """With nothing ended there is no question."""
    bus, shelf = MemoryBus(), Shelf()
    shelf.held = [LIVE]
    asked = await control(bus, encode(SettlementAnswered()))
    await settle(shelf, bus, is_live)
    assert asked == []


def test_settling_outlives_an_absent_control_and_a_senseless_answer():
    """Away, nobody there, nonsense: nothing is deleted, and a later round does its work."""

    async def main() -> None:
        bus, shelf = MemoryBus(), Shelf()
        running = asyncio.create_task(keep_settling(shelf, bus, is_live))
        await asyncio.sleep(2 * EVERY_S)
        bus.go_away()
        await asyncio.sleep(2 * EVERY_S)
        bus.come_back()
        nonsense = await bus.serve(act("settlement"), lambda _: _say(b"[]"))
        await asyncio.sleep(2 * EVERY_S)
        await nonsense.close()
        assert shelf.settled == []
        await control(bus, encode(SettlementAnswered(settled=(SAFE,))))
        await asyncio.sleep(1.5 * EVERY_S)
        assert shelf.settled[0] == SAFE
        running.cancel()

    async def _say(data: bytes) -> bytes:
        return data

    virtual_time.run(main())
