"""Whose silence means death, and when nobody may judge."""

from typing import Any

from turncall_control.calls import placement
from turncall_control.workers import DEAD_AFTER_S, FREEZE_S, MISTRUST_S, Workers
from turncall_proto.codec import encode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import SUSPECT_AFTER_S, WorkerBeat

W = [WorkerId(f"w{number}") for number in range(12)]


class Scene:
    """A view over workers, and time that passes with beats and looks."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.workers = Workers(lambda: self.now_s)
        self.draining: set[WorkerId] = set()

    async def passes(self, seconds: float, *beating: WorkerId, is_connected: bool = True) -> None:
        """Lets time pass while these workers beat and this replica looks at its bus."""
        for _ in range(round(seconds / 0.1)):
            for worker in beating:
                await self.workers.heard("", encode(self.beat(worker)))
            self.workers.look(is_connected)
            self.now_s += 0.1

    def beat(self, worker: WorkerId) -> WorkerBeat:
        """One beat."""
        state: dict[str, Any] = {"lag_ms": 1.0, "version": "1", "media_url": "ws://w"}
        is_draining = worker in self.draining
        return WorkerBeat(worker=worker, pool="calls", slots_total=9, slots_used=0, is_draining=is_draining, **state)


async def test_a_silent_worker_is_dead_after_two_and_a_half_seconds() -> None:
    """Not before, and only the one that is silent; how long it was silent is told."""
    scene = Scene()
    await scene.passes(4, W[0], W[1])
    await scene.passes(DEAD_AFTER_S - 0.3, W[1])
    assert scene.workers.dead({W[0], W[1]}) == {}
    await scene.passes(0.4, W[1])
    dead = scene.workers.dead({W[0], W[1]})
    assert list(dead) == [W[0]]
    assert DEAD_AFTER_S <= dead[W[0]] < DEAD_AFTER_S + 0.3
    await scene.passes(0.1, W[0], W[1])
    assert scene.workers.dead({W[0], W[1]}) == {}, "it beats again"


async def test_a_worker_without_calls_is_nobodys_business() -> None:
    """Only owners of live calls are judged."""
    scene = Scene()
    await scene.passes(4, W[0])
    await scene.passes(4)
    assert scene.workers.dead(set()) == {}
    assert list(scene.workers.dead({W[0]})) == [W[0]]


async def test_a_new_replica_listens_before_it_judges() -> None:
    """An owner that was never heard counts as silent from the first question; a young replica judges nobody."""
    scene = Scene()
    assert scene.workers.dead({W[5]}) == {}
    await scene.passes(DEAD_AFTER_S - 0.2, W[0])
    assert scene.workers.dead({W[5], W[0]}) == {}
    await scene.passes(0.4, W[0])
    assert list(scene.workers.dead({W[5], W[0]})) == [W[5]]
    assert scene.workers.dead({W[6], W[0]}) == {}, "another one is not judged at first sight"


async def test_a_replica_that_was_cut_off_judges_nobody() -> None:
    """For five seconds after its own connection came back it trusts no silence, and callers may wait longer."""
    scene = Scene()
    await scene.passes(4, W[0], W[1])
    assert not scene.workers.is_cut_off
    await scene.passes(3, is_connected=False)
    assert scene.workers.is_cut_off
    assert placement.may_wait(scene.workers, 30.0)
    assert scene.workers.dead({W[0]}) == {}
    await scene.passes(MISTRUST_S - 0.3, W[1])
    assert scene.workers.dead({W[0]}) == {}
    await scene.passes(0.4, W[1])
    assert list(scene.workers.dead({W[0], W[1]})) == [W[0]]
    assert not placement.may_wait(scene.workers, 30.0)


async def test_a_replica_that_stood_still_judges_nobody() -> None:
    """A process that was stopped has not read the beats of that time."""
    scene = Scene()
    await scene.passes(4, W[0])
    scene.now_s += 10
    scene.workers.look(True)
    assert scene.workers.dead({W[0]}) == {}
    assert not scene.workers.is_cut_off, "what the workers said is on the bus"
    assert scene.workers.is_behind("calls")
    await scene.passes(MISTRUST_S + 0.1, W[1])
    assert list(scene.workers.dead({W[0], W[1]})) == [W[0]]


async def test_a_late_beat_is_waited_for() -> None:
    """Between doubtful and dead a worker may be heard at any moment; before and after that nothing is expected."""
    scene = Scene()
    await scene.passes(4, W[0])
    assert not scene.workers.is_behind("calls")
    await scene.passes(SUSPECT_AFTER_S + 0.2)
    assert scene.workers.alive("calls") == []
    assert scene.workers.is_behind("calls")
    assert not scene.workers.is_behind("text"), "nobody of this pool is missed"
    await scene.passes(DEAD_AFTER_S - SUSPECT_AFTER_S)
    assert not scene.workers.is_behind("calls")


async def test_many_that_fall_silent_together_are_not_judged() -> None:
    """Four of ten within three seconds is the network; after half a minute their callers come first."""
    scene = Scene()
    await scene.passes(4, *W[:10])
    await scene.passes(1, *W[:8])
    await scene.passes(3, *W[:6])
    assert scene.workers.fell_silent_together == 4
    assert scene.workers.dead(set(W[:10])) == {}
    await scene.passes(FREEZE_S, *W[:6])
    assert scene.workers.fell_silent_together == 0
    assert set(scene.workers.dead(set(W[:10]))) == set(W[6:10])


async def test_few_or_a_small_share_are_judged() -> None:
    """Three of three, and three of ten, are judged; so are four that fell silent one after another."""
    scene = Scene()
    await scene.passes(4, *W[:3])
    await scene.passes(3)
    assert set(scene.workers.dead(set(W[:3]))) == set(W[:3])
    scene = Scene()
    await scene.passes(4, *W[:10])
    for number in (9, 8, 7, 6):
        await scene.passes(3, *W[:number])
    assert scene.workers.fell_silent_together == 0
    assert set(scene.workers.dead(set(W[:10]))) == set(W[6:10])


async def test_workers_that_left_on_purpose_do_not_count() -> None:
    """A rolling deploy is no failure of the network."""
    scene = Scene()
    scene.draining = set(W[:5])
    await scene.passes(4, *W[:8])
    await scene.passes(3, *W[5:8])
    assert scene.workers.fell_silent_together == 0
    assert set(scene.workers.dead({W[0]})) == {W[0]}
