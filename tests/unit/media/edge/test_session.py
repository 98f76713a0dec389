"""One call: how it begins, whose it is, and every way in which it ends."""

import asyncio

import pytest

from turncall_media.errors import VendorUnusable
from turncall_media.ingress.past import READ_WITHIN_S
from turncall_media.seams import Outcome, SocketClosed
from turncall_media.session import CARRIER_CLOSES_WITHIN_S, PLAN_WITHIN_S
from turncall_media.wire.twilio import FIRST_MESSAGE_WITHIN_S
from turncall_proto.call import CallState, Claim, EndedReason, Handoff
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, CommandReply, EndCall, HangUpAsked, Say
from turncall_proto.events import CallHandoff, CallStarted, CommandDone, EpochClosed, EpochOpened
from turncall_proto.subjects import act, call, command
from turncall_testkit import virtual_time

HUNG_UP = Outcome(state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)
AGENT_ENDED = Outcome(state=CallState.COMPLETED, reason=EndedReason.ASSISTANT_ENDED_CALL)


async def settled() -> None:
    """Lets every task go as far as it can without time passing."""
    for _ in range(30):
        await asyncio.sleep(0)


async def control_hangs_up(edge, socket) -> list[HangUpAsked]:
    """A control plane that takes hang-ups on, and a carrier that closes the socket at once."""
    asked: list[HangUpAsked] = []

    async def answer(data: bytes) -> bytes:
        asked.append(decode(data, HangUpAsked))
        socket.says(SocketClosed(1000))
        return encode(ActReply(is_taken=True))

    await edge.bus.serve(act("hang_up"), answer)
    return asked


def test_a_call_the_caller_ends(edge, a_socket, a_plan):
    """First fact opened, last fact closed with state and reason; the carrier is not asked to hang up what is over."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        asked = await control_hangs_up(world, socket)
        session = world.session(socket, a_plan())
        running = asyncio.create_task(session.run())
        await settled()
        world.talks[0].reporter.report(CallStarted, setup_ms=7)
        world.talks[0].outcome.set_result(HUNG_UP)
        await running
        assert [(type(fact), fact.seq) for fact in world.spooled] == [
            (EpochOpened, 1),
            (CallStarted, 2),
            (EpochClosed, 3),
        ]
        assert (world.spooled[-1].state, world.spooled[-1].reason) == (HUNG_UP.state, HUNG_UP.reason)
        assert asked == []
        assert socket.closed_with == 1000
        await session.finish()
        assert world.station.owned == set()

    virtual_time.run(main())


def test_a_handover_closes_the_socket_so_that_the_carrier_asks(edge, a_socket, a_plan):
    """The epoch is closed without a state before the socket is, with 1012, and nobody is asked to hang up."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        asked = await control_hangs_up(world, socket)
        session = world.session(socket, a_plan())
        running = asyncio.create_task(session.run())
        await settled()
        session.hand_over(at_once=True)
        await running
        closed = world.spooled[-1]
        assert isinstance(closed, EpochClosed)
        assert (closed.state, closed.reason) == (None, None)
        assert (socket.closed_with, asked) == (1012, [])
        assert world.count("epochs", reason="goes_on") == 1

    virtual_time.run(main())


def test_a_slow_recording_holds_neither_the_socket_nor_the_hang_up(edge, a_socket, a_plan):
    """The socket closes when the call is over; the last fact waits for what is on its way to the store."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        asked = await control_hangs_up(world, socket)
        session = world.session(socket, a_plan())
        running = asyncio.create_task(session.run())
        await settled()
        talk = world.talks[0]
        talk.recording.clear()
        talk.outcome.set_result(AGENT_ENDED)
        await running
        assert (len(asked), socket.closed_with) == (1, 1000)
        assert not isinstance(world.spooled[-1], EpochClosed)
        assert world.station.owned, "its facts are not to be settled yet"
        finishing = asyncio.create_task(session.finish())
        await asyncio.sleep(40)
        talk.reporter.report(CallStarted, setup_ms=7)
        talk.recording.set()
        await finishing
        assert [type(fact) for fact in world.spooled] == [EpochOpened, CallStarted, EpochClosed]
        assert world.station.owned == set()

    virtual_time.run(main())


def test_a_worker_that_stops_at_once_does_not_wait_for_recordings(edge, a_socket, a_plan):
    """Cancelled while a recording is on its way, the epoch is closed with what the call ended with."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        session = world.session(socket, a_plan())
        running = asyncio.create_task(session.run())
        await settled()
        world.talks[0].recording.clear()
        world.talks[0].outcome.set_result(HUNG_UP)
        await running
        finishing = asyncio.create_task(session.finish())
        await settled()
        finishing.cancel()
        await asyncio.gather(finishing, return_exceptions=True)
        assert world.spooled[-1].reason is EndedReason.CUSTOMER_ENDED_CALL
        assert world.station.owned == set()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())


def test_a_call_the_agent_ends(edge, a_socket, a_plan):
    """Control is asked to hang up, with the reason, and the carrier is left to close the socket."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        asked = await control_hangs_up(world, socket)
        running = asyncio.create_task(world.session(socket, a_plan()).run())
        await settled()
        world.talks[0].outcome.set_result(AGENT_ENDED)
        await running
        assert [(one.reason, one.epoch) for one in asked] == [(EndedReason.ASSISTANT_ENDED_CALL, 1)]
        assert world.spooled[-1].reason is EndedReason.ASSISTANT_ENDED_CALL

    virtual_time.run(main())


def test_a_carrier_that_does_not_close(edge, a_socket, a_plan):
    """After control took the hang-up on, the socket is closed by us when the carrier does not."""

    async def main() -> None:
        world, socket = await edge(), a_socket()

        async def answer(_: bytes) -> bytes:
            return encode(ActReply(is_taken=True))

        await world.bus.serve(act("hang_up"), answer)
        running = asyncio.create_task(world.session(socket, a_plan()).run())
        await settled()
        began_s = asyncio.get_running_loop().time()
        world.talks[0].outcome.set_result(AGENT_ENDED)
        await running
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(CARRIER_CLOSES_WITHIN_S)
        assert socket.closed_with == 1000

    virtual_time.run(main())


def test_control_out_of_reach_does_not_hold_a_call_for_ever(edge, a_socket, a_plan):
    """A hang-up that nobody takes on is retried for ten seconds; then the socket closes and the epoch is closed."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        running = asyncio.create_task(world.session(socket, a_plan()).run())
        await settled()
        began_s = asyncio.get_running_loop().time()
        world.talks[0].outcome.set_result(AGENT_ENDED)
        await running
        assert 9 < asyncio.get_running_loop().time() - began_s < 11
        assert isinstance(world.spooled[-1], EpochClosed)

    virtual_time.run(main())


def test_a_command_ends_the_call_once(edge, a_socket, a_plan):
    """A repeated command id is answered alike and acts once; one past its deadline is refused as late."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        await control_hangs_up(world, socket)
        plan = a_plan()
        running = asyncio.create_task(world.session(socket, plan).run())
        await settled()
        late = EndCall(command_id="c0", call_id=plan.call_id, deadline=world.now())
        assert await ask(world, late) == CommandReply(outcome="late")
        assert world.talks[0].obeyed == []
        end = EndCall(command_id="c1", call_id=plan.call_id, deadline=world.now().replace(year=2027))
        replies = [await ask(world, end), await ask(world, end)]
        assert replies == [CommandReply(outcome="done")] * 2
        assert world.talks[0].obeyed == [end]
        await running
        assert world.spooled[-1].reason is EndedReason.API_ENDED_CALL

    async def ask(world, message: EndCall) -> CommandReply:
        return decode(await world.bus.ask(command(message.call_id), encode(message), timeout_s=1), CommandReply)

    virtual_time.run(main())


def test_a_command_that_an_earlier_worker_did_is_not_done_again(edge, a_socket, a_plan):
    """The next worker answers its repeat as done, from the facts of the epoch before."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        plan = a_plan(epoch=2)
        header = {"call_id": plan.call_id, "project_id": plan.project_id, "epoch": 1, "at": world.now()}
        done = CommandDone(seq=1, command_id="c1", command="say", **header)
        await world.bus.publish(call(plan.project_id, plan.call_id, "event"), encode(done), message_id="1")
        running = asyncio.create_task(world.session(socket, plan, epoch=2).run())
        await settled()
        for command_id, texts in (("c1", []), ("c2", ["Hello."])):
            said = Say(
                command_id=command_id, call_id=plan.call_id, deadline=world.now().replace(year=2027), text="Hello."
            )
            answer = await world.bus.ask(command(plan.call_id), encode(said), timeout_s=1)
            assert decode(answer, CommandReply).outcome == "done"
            assert [each.text for each in world.talks[0].obeyed] == texts
        world.talks[0].outcome.set_result(HUNG_UP)
        await running

    virtual_time.run(main())


def test_another_agent_goes_on_with_the_same_socket(edge, a_socket, a_plan):
    """The next epoch opens at once, states the handoff, knows the whole story, and takes commands like any other."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        asked = await control_hangs_up(world, socket)
        session = world.session(socket, a_plan())
        running = asyncio.create_task(session.run())
        await settled()
        first = world.talks[0]
        first.recording.clear()  # the first agent's recording is still on its way
        first.reporter.report(CallStarted, setup_ms=7)
        other = "agt_" + "b" * 32
        handoff = Handoff(from_epoch=1, from_agent_id=a_plan().agent_id, reason="An invoice.")
        plan = a_plan(epoch=2, agent_id=other, handoff=handoff)
        first.outcome.set_result(Outcome(state=None, reason=None, next_plan=plan))
        await settled()
        assert socket.closed_with is None
        second = world.talks[1]
        assert [type(fact) for fact in second.past.facts] == [EpochOpened, CallStarted, EpochOpened, CallHandoff]
        assert (second.past.facts[3].from_agent_id, second.past.facts[3].to_agent_id) == (a_plan().agent_id, other)
        opened = [fact for fact in world.spooled if isinstance(fact, EpochOpened)]
        assert [(fact.epoch, fact.previous_seq) for fact in opened] == [(1, 0), (2, 2)]
        end = EndCall(command_id="c1", call_id=plan.call_id, deadline=world.now().replace(year=2027))
        await world.bus.ask(command(plan.call_id), encode(end), timeout_s=1)
        await running
        assert second.obeyed == [end]
        assert [question.epoch for question in asked] == [2]
        first.recording.set()
        await session.finish()
        closed = {fact.epoch: (fact.state, fact.reason) for fact in world.spooled if isinstance(fact, EpochClosed)}
        assert closed == {1: (None, None), 2: (CallState.COMPLETED, EndedReason.API_ENDED_CALL)}
        assert world.station.owned == set()

    virtual_time.run(main())


def test_a_handoff_is_stated_once(edge, a_socket, a_plan):
    """A worker that goes on after the new agent's worker died states it only if that one did not."""

    async def main(is_stated: bool) -> None:
        world, socket = await edge(), a_socket()
        handoff = Handoff(from_epoch=1, from_agent_id=None)
        plan = a_plan(epoch=3, handoff=handoff)
        header = {"call_id": plan.call_id, "project_id": plan.project_id, "epoch": 2, "at": world.now()}
        stated = CallHandoff(seq=1, from_epoch=1, from_agent_id=None, to_agent_id=None, to_version_id=None, **header)
        if is_stated:
            await world.bus.publish(call(plan.project_id, plan.call_id, "event"), encode(stated), message_id="1")
        running = asyncio.create_task(world.session(socket, plan, epoch=3).run())
        await settled()
        assert [fact.epoch for fact in world.talks[0].past.facts if isinstance(fact, CallHandoff)] == [
            2 if is_stated else 3
        ]
        world.talks[0].outcome.set_result(HUNG_UP)
        await running

    for is_stated in (False, True):
        virtual_time.run(main(is_stated))


@pytest.mark.parametrize("at_once", [False, True])
def test_a_handover_asked_for_during_set_up(edge, a_socket, a_plan, at_once):
    """A call that is to be handed over while it looks for its plan is, as soon as it has a conversation."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        session = world.session(socket, None)
        running = asyncio.create_task(session.run())
        await settled()
        session.hand_over(at_once=at_once)
        await world.publish_plan(a_plan())
        await asyncio.sleep(1)
        assert world.talks[0].handed_over == [at_once]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual_time.run(main())


def test_a_call_that_was_offered_elsewhere(edge, a_socket, a_plan):
    """A worker that nobody asked finds the plan by call and epoch alone, also when it is published a moment later."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        await world.publish_plan(a_plan(epoch=1, from_number="+15550111"))
        running = asyncio.create_task(world.session(socket, None, epoch=2).run())
        await asyncio.sleep(0.5)
        await world.publish_plan(a_plan(epoch=2))
        await asyncio.sleep(0.5)
        world.talks[0].outcome.set_result(HUNG_UP)
        await running
        assert [fact.epoch for fact in world.spooled] == [2, 2]

    virtual_time.run(main())


def test_no_plan(edge, a_socket):
    """A socket for which no plan turns up is closed with 1011 after a bounded search, and nothing is stated."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        await world.session(socket, None).run()
        assert asyncio.get_running_loop().time() <= PLAN_WITHIN_S
        assert socket.closed_with == 1011
        assert world.spooled == []
        assert world.count("sockets", outcome="PlanMissing") == 1

    virtual_time.run(main())


def test_a_plan_of_a_newer_release(edge, a_socket, a_plan):
    """A plan that this release cannot read is as good as none: 1011, no facts."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        plan = a_plan()
        data = encode(plan).replace(b'"kind":"cascade"', b'"kind":"telepathy"')
        await world.bus.publish(call(plan.project_id, plan.call_id, "start"), data, message_id="start")
        await world.session(socket, None).run()
        assert socket.closed_with == 1011
        assert world.spooled == []

    virtual_time.run(main())


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(('{"event":"media","streamSid":"MZ1","media":{"timestamp":"1","payload":"/w=="}}',), id="audio"),
        pytest.param(("not json",) * 60, id="garbage"),
    ],
)
def test_a_peer_that_does_not_speak_the_protocol(edge, a_socket, a_plan, frames):
    """Closed with 1002, counted, and no event of the call was stated."""

    async def main() -> None:
        world, socket = await edge(), a_socket(*frames)
        await world.session(socket, a_plan()).run()
        assert socket.closed_with == 1002
        assert world.spooled == []
        assert world.talks == []
        assert world.count("sockets", outcome="WireError") == 1

    virtual_time.run(main())


def test_a_silent_peer(edge, a_socket, a_plan):
    """A socket without a start message is closed within `FIRST_MESSAGE_WITHIN_S`."""

    async def main() -> None:
        world, socket = await edge(), a_socket('{"event":"connected"}')
        await world.session(socket, a_plan()).run()
        assert asyncio.get_running_loop().time() == pytest.approx(FIRST_MESSAGE_WITHIN_S)
        assert socket.closed_with == 1002

    virtual_time.run(main())


def test_a_stream_of_another_carrier_call(edge, a_socket, a_plan):
    """A token opens one call; a stream that carries another one of the carrier's is turned away."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        await world.session(socket, a_plan(provider_call_id="CA" + "2" * 32)).run()
        assert socket.closed_with == 1002
        assert world.talks == []

    virtual_time.run(main())


def test_the_first_socket_to_start_wins(edge, a_socket, a_plan):
    """A second stream for a live epoch on this worker is closed with 1008 and leaves the first alone."""

    async def main() -> None:
        world, first, second = await edge(), a_socket(), a_socket()
        running = asyncio.create_task(world.session(first, a_plan()).run())
        await settled()
        await world.session(second, a_plan()).run()
        assert second.closed_with == 1008
        assert first.closed_with is None
        world.talks[0].outcome.set_result(HUNG_UP)
        await running
        assert len(world.talks) == 1
        assert [fact.seq for fact in world.spooled] == [1, 2]

    virtual_time.run(main())


def test_a_lost_claim(edge, a_socket, a_plan):
    """Of two workers with one epoch, the one whose claim comes second stops, closes with 1008 and states nothing."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        plan = a_plan()
        rival = Claim(call_id=plan.call_id, epoch=1, worker=world.station.worker.replace("1", "2"), at=world.now())
        subject = call(plan.project_id, plan.call_id, "claim")
        await world.bus.publish(subject, encode(rival), message_id="rival")
        await world.session(socket, plan).run()
        assert socket.closed_with == 1008
        assert world.spooled == []
        assert world.talks[0].was_cancelled
        assert world.talks[0].obeyed == []
        assert world.count("claims", result="lost") == 1

    virtual_time.run(main())


def test_two_workers_race_for_one_epoch(edge, a_socket, a_plan):
    """Exactly one of them goes on, whichever it is."""

    async def main() -> None:
        world, sockets = await edge(), (a_socket(), a_socket())
        stations = (world.station, world.station_of("wrk_" + "2" * 32))
        running = [
            asyncio.create_task(world.session(socket, a_plan(), station=station).run())
            for socket, station in zip(sockets, stations, strict=True)
        ]
        await asyncio.sleep(1)
        assert sorted(talk.was_cancelled for talk in world.talks) == [False, True]
        next(talk for talk in world.talks if not talk.was_cancelled).outcome.set_result(HUNG_UP)
        await asyncio.gather(*running)
        assert sorted(socket.closed_with for socket in sockets) == [1000, 1008]
        assert [type(fact) for fact in world.spooled] == [EpochOpened, EpochClosed]

    virtual_time.run(main())


def test_a_claim_of_the_epoch_before_is_no_obstacle(edge, a_socket, a_plan):
    """The worker of epoch 2 claims after the one of epoch 1, and states what it read of it."""

    async def main() -> None:
        world, first, second = await edge(), a_socket(), a_socket()
        running = asyncio.create_task(world.session(first, a_plan()).run())
        await settled()
        world.talks[0].outcome.set_result(Outcome(state=None, reason=None))
        await running
        for fact in world.spooled:
            subject = call(fact.project_id, fact.call_id, "event")
            await world.bus.publish(subject, encode(fact), message_id=f"1.{fact.seq}")
        running = asyncio.create_task(
            world.session(second, a_plan(epoch=2), 2, world.station_of("wrk_" + "2" * 32)).run()
        )
        await settled()
        world.talks[1].outcome.set_result(HUNG_UP)
        await running
        opened = world.spooled[2]
        assert (opened.epoch, opened.seq, opened.previous_seq) == (2, 1, 2)
        assert second.closed_with == 1000

    virtual_time.run(main())


def test_the_bus_is_away(edge, a_socket, a_plan):
    """The call goes on with its facts on disk, and the epoch is claimed when the bus is back."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        plan = a_plan()
        world.bus.go_away()
        running = asyncio.create_task(world.session(socket, plan).run())
        await asyncio.sleep(10)
        assert [type(fact) for fact in world.spooled] == [EpochOpened]
        world.bus.come_back()
        await asyncio.sleep(2)
        (stored,) = await world.bus.story(call(plan.project_id, plan.call_id, "claim"))
        assert decode(stored.data, Claim).worker == world.station.worker
        assert socket.closed_with is None
        world.talks[0].outcome.set_result(HUNG_UP)
        await running

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (VendorUnusable("no vendor acme"), EndedReason.VENDOR_ERROR),
        (RuntimeError("a bug"), EndedReason.PIPELINE_ERROR),
    ],
)
def test_a_conversation_that_cannot_be_built(edge, a_socket, a_plan, error, reason):
    """The epoch is closed as failed with the error's own reason, and control is asked to hang up."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        asked = await control_hangs_up(world, socket)
        world.build_fails_with = error
        await world.session(socket, a_plan()).run()
        closed = world.spooled[-1]
        assert (closed.state, closed.reason) == (CallState.FAILED, reason)
        assert [one.reason for one in asked] == [reason]

    virtual_time.run(main())


def test_a_conversation_that_breaks(edge, a_socket, a_plan):
    """An exception out of a running conversation fails this call with pipeline_error and rises no further."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        await control_hangs_up(world, socket)
        running = asyncio.create_task(world.session(socket, a_plan()).run())
        await settled()
        world.talks[0].outcome.set_exception(RuntimeError("a bug"))
        await running
        assert world.spooled[-1].reason is EndedReason.PIPELINE_ERROR

    virtual_time.run(main())


def test_a_cancelled_call_still_closes_its_epoch(edge, a_socket, a_plan):
    """When the process stops at once, the call goes on elsewhere: no state, 1012, and the cancellation rises."""

    async def main() -> None:
        world, socket = await edge(), a_socket()
        running = asyncio.create_task(world.session(socket, a_plan()).run())
        await settled()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        closed = world.spooled[-1]
        assert isinstance(closed, EpochClosed)
        assert (closed.state, closed.reason) == (None, None)
        assert socket.closed_with == 1012
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())


def test_a_call_taken_over_brings_its_story(edge, a_socket, a_plan):
    """The conversation is built with the facts of earlier epochs, and the first fact says how many were read."""

    async def main() -> None:
        world = await edge()
        for epoch, seq in ((1, 1), (1, 2), (2, 1)):
            fact = EpochOpened(
                call_id=a_plan().call_id,
                project_id=a_plan().project_id,
                epoch=epoch,
                seq=seq,
                at=world.now(),
                worker="wrk_" + "9" * 32,
            )
            subject = call(fact.project_id, fact.call_id, "event")
            await world.bus.publish(subject, encode(fact), message_id=f"{epoch}.{seq}")
        await world.bus.publish(subject, b"{}", message_id="no fact")
        plan = a_plan(epoch=2)
        running = asyncio.create_task(world.session(a_socket(), plan, epoch=2).run())
        await settled()
        known = world.talks[0].past
        assert known.is_known
        assert [(fact.epoch, fact.seq) for fact in known.facts] == [(1, 1), (1, 2)]
        world.talks[0].outcome.set_result(HUNG_UP)
        await running
        assert world.spooled[0].previous_seq == 2
        assert world.count("pasts", outcome="known") == 1

    virtual_time.run(main())


def test_a_call_taken_over_without_the_bus(edge, a_socket, a_plan):
    """It goes on within a second, and the worker counts that it knows nothing of the call."""

    async def main() -> None:
        world = await edge()
        world.bus.go_away()
        began_s = asyncio.get_running_loop().time()
        running = asyncio.create_task(world.session(a_socket(), a_plan(epoch=2), epoch=2).run())
        await settled()
        assert asyncio.get_running_loop().time() - began_s <= READ_WITHIN_S
        assert not world.talks[0].past.is_known
        assert world.count("pasts", outcome="unknown") == 1
        world.talks[0].outcome.set_result(HUNG_UP)
        await running

    virtual_time.run(main())
