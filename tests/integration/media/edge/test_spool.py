"""Facts that an earlier process left behind."""

import asyncio
from pathlib import Path

from turncall_bus.memory import MemoryBus
from turncall_bus.spool import Spool
from turncall_media.report import settlement
from turncall_proto.codec import decode, encode
from turncall_proto.command import SettlementAnswered, SettlementAsked, SpooledEpoch
from turncall_proto.events import CallStarted, EpochOpened
from turncall_proto.subjects import act


async def test_an_adopted_epoch_is_published_and_settled(a_worker, a_plan, control, tmp_path: Path, monkeypatch):
    """A worker that died between two facts: the next one on its folder publishes them and clears them once settled."""
    monkeypatch.setattr(settlement, "EVERY_S", 0.1)
    plan, folder = a_plan(), tmp_path / "left"
    header = {"call_id": plan.call_id, "project_id": plan.project_id, "epoch": 1, "at": plan.planned_at}
    earlier = Spool(folder, MemoryBus())
    earlier.append(EpochOpened(**header, seq=1, worker="wrk_dead"))
    earlier.append(CallStarted(**header, seq=2, setup_ms=4))
    earlier.close()

    asked: asyncio.Future[SettlementAsked] = asyncio.get_running_loop().create_future()

    async def settle(data: bytes) -> bytes:
        question = decode(data, SettlementAsked)
        if not asked.done():
            asked.set_result(question)
        return encode(SettlementAnswered(settled=question.epochs))

    await control.bus.serve(act("settlement"), settle)
    async with a_worker(spool_dir=folder):
        assert [fact.seq for fact in await control.facts(plan, 2)] == [1, 2]
        async with asyncio.timeout(5):
            assert (await asked).epochs == (SpooledEpoch(call_id=plan.call_id, epoch=1, last_seq=2),)
            while left := [path.name for path in folder.iterdir() if plan.call_id in path.name]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert left == []
