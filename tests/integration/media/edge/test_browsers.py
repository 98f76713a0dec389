"""Pages at a worker: how their connections come about, change, and come to nothing."""

import asyncio
import re
import shutil
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from aioice.ice import get_host_addresses
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from turncall_control.calls import ice
from turncall_media.wire import webrtc
from turncall_proto import subjects
from turncall_proto.codec import decode, encode
from turncall_proto.events import EpochClosed, EpochOpened
from turncall_proto.webrtc import EXCHANGE_WITHIN_S, CandidatesTold, IceCandidate, IceServer, SdpOffered, SdpReply
from turncall_runtime.secret import Secret
from turncall_testkit.browser import Page

TURN_SERVER = shutil.which("turnserver")
TURN_SECRET = "a-secret-of-the-relay"
CANDIDATE = re.compile(r"a=(candidate:[^\r]*)\r\n")
SILENT = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


class Line:
    """One call from a page, as control passes it on to a worker. ``replies`` are what the worker said."""

    def __init__(self, control, worker, plan, ice_servers=()) -> None:
        self._control = control
        self._worker = worker
        self._plan = plan
        self._ice_servers = ice_servers
        self.replies: list[SdpReply] = []

    async def ask(self, kind, **what) -> SdpReply:
        deadline = datetime.now(UTC) + timedelta(seconds=EXCHANGE_WITHIN_S)
        asked = kind(call_id=self._plan.call_id, epoch=self._plan.epoch, deadline=deadline, **what)
        data = await self._control.bus.ask(subjects.sdp(self._worker.id), encode(asked), timeout_s=EXCHANGE_WITHIN_S)
        self.replies.append(decode(data, SdpReply))
        return self.replies[-1]

    async def offer(self, sdp: str, pc_id: str | None, is_restarted: bool) -> tuple[str, str]:
        """See `turncall_testkit.browser.Offer`."""
        is_new = is_restarted or pc_id is None
        reply = await self.ask(SdpOffered, sdp=sdp, is_new=is_new, ice_servers=self._ice_servers)
        if reply.outcome != "done":
            raise ConnectionRefusedError(reply.detail)
        return reply.sdp, self._plan.call_id

    async def offer_without_addresses(self, sdp: str, pc_id: str | None, is_restarted: bool) -> tuple[str, str]:
        """As `offer`; the page's addresses come behind the answer, among some that make no sense."""
        bare = CANDIDATE.sub("", sdp).replace("a=end-of-candidates\r\n", "")
        answered = await self.offer(bare, pc_id, is_restarted)
        found = ("candidate:nonsense", *CANDIDATE.findall(sdp), "")
        told = tuple(IceCandidate(candidate=each, sdp_mid="0", sdp_mline_index=0) for each in found)
        assert (await self.ask(CandidatesTold, candidates=told)).outcome == "done"
        return answered


@pytest.fixture
def a_page_plan(a_plan):
    """Makes plans of calls from pages."""
    return lambda: a_plan(channel="browser", provider="browser", from_number="", to_number="")


@asynccontextmanager
async def a_line(control, worker, plan, **servers):
    """The worker holds a slot for the page's call."""
    assert await control.offer(worker.id, plan) == "accepted"
    yield Line(control, worker, plan, **servers)


async def is_free(control, worker) -> bool:
    """Whether the worker's slot is free again, once it says so."""
    beat = await control.beat(lambda beat: beat.worker == worker.id and beat.slots_used == 0)
    return beat.slots_total == 1


class SilentServer(asyncio.DatagramProtocol):
    """A STUN server that answers nobody. ``asked`` counts the requests by who sent them."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()

    def datagram_received(self, data: bytes, addr) -> None:
        self.asked[addr[:2]] += 1


async def test_nobody_waits_long_for_a_server_that_does_not_answer(a_worker, a_page_plan, control):
    """The worker gives a STUN server the time for three requests, of which the last goes out after 1.5 s, and then
    answers with the addresses that it has; a fourth one would be sent after 3.5 s."""
    host, plan = get_host_addresses(use_ipv4=True, use_ipv6=False)[0], a_page_plan()
    loop = asyncio.get_running_loop()
    transport, silent = await loop.create_datagram_endpoint(SilentServer, local_addr=(host, 0))
    port = transport.get_extra_info("sockname")[1]
    servers = (IceServer(urls=(f"stun:{host}:{port}",)),)
    async with a_worker(slots=1) as worker, a_line(control, worker, plan, ice_servers=servers) as line:
        async with Page(line.offer_without_addresses) as page:
            await page.connect()
            assert isinstance((await control.facts(plan, 1))[0], EpochOpened)
        assert isinstance((await control.facts(plan, 2))[1], EpochClosed)
    transport.close()
    assert silent.asked
    assert max(silent.asked.values()) <= 3


async def test_a_connection_changes_with_the_network(a_worker, a_page_plan, control):
    """The page offers anew on its connection, or makes another one: the call is the same, and heard on either."""
    plan = a_page_plan()
    async with a_worker(slots=1) as worker, a_line(control, worker, plan) as line, Page(line.offer) as page:
        await page.connect()
        await page.renegotiate()
        first, second = (reply.sdp for reply in line.replies)
        assert fingerprint(first) == fingerprint(second)
        await heard(page)

        restarted = re.sub(r"a=ice-ufrag:\S+", "a=ice-ufrag:another", page.local_sdp)
        refused = await line.ask(SdpOffered, sdp=restarted)
        assert (refused.outcome, "restart_pc" in refused.detail) == ("refused", True)
        await heard(page)

        page.lose_network()
        await page.connect(is_restarted=True)
        assert fingerprint(line.replies[-1].sdp) != fingerprint(first)
        await heard(page)
        await page.leave()
        facts = await control.facts(plan, 2)
        assert [type(fact) for fact in facts] == [EpochOpened, EpochClosed]
        assert facts[1].reason == "customer_ended_call"
        assert await is_free(control, worker)


async def test_a_page_that_forgets_to_say_that_its_connection_is_new(a_worker, a_page_plan, control):
    """Its certificate says so."""
    plan = a_page_plan()
    async with a_worker(slots=1) as worker, a_line(control, worker, plan) as line, Page(line.offer) as page:
        await page.connect()
        await page.connect()
        await heard(page)


async def test_a_page_that_is_never_reached(a_worker, a_page_plan, control, monkeypatch):
    """It offers sound, takes the answer and is not there: the call has failed, and its slot is free."""
    monkeypatch.setattr(webrtc, "CONNECT_WITHIN_S", 0.2)
    plan = a_page_plan()
    async with a_worker(slots=1) as worker, a_line(control, worker, plan) as line:
        elsewhere = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        elsewhere.addTransceiver("audio")
        await elsewhere.setLocalDescription(await elsewhere.createOffer())
        await line.offer(elsewhere.localDescription.sdp, None, False)
        await elsewhere.close()
        (closed,) = await control.facts(plan, 1)
        assert isinstance(closed, EpochClosed)
        assert (closed.state, closed.reason) == ("failed", "telephony_failed")
        assert await is_free(control, worker)


async def test_offers_of_no_use(a_worker, a_page_plan, control):
    """Without sound, or without sense: the page is told why, and the slot is free for others."""
    video = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    video.addTransceiver("video")
    await video.setLocalDescription(await video.createOffer())
    async with a_worker(slots=1) as worker:
        for sdp, why in (
            (video.localDescription.sdp, "no sound"),
            (SILENT, "cannot be read"),
            ("an offer", "cannot be read"),
        ):
            async with a_line(control, worker, a_page_plan()) as line:
                reply = await line.ask(SdpOffered, sdp=sdp, is_new=True)
                assert (reply.outcome, why in reply.detail) == ("refused", True), reply
        assert await is_free(control, worker)
    await video.close()


@asynccontextmanager
async def a_relay(folder):
    """Coturn on an address of this machine; what a page of a call is told of it, now or at another time."""
    host = get_host_addresses(use_ipv4=True, use_ipv6=False)[0]
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    flags = ["-n", "--no-tls", "--no-dtls", "--no-cli", "--use-auth-secret", "--log-file=stdout", "--realm=tests"]
    flags += [f"--static-auth-secret={TURN_SECRET}", f"--listening-ip={host}", f"--relay-ip={host}"]
    flags += [f"--listening-port={port}", f"--pidfile={folder}/pid", f"--userdb={folder}/db"]
    process = await asyncio.create_subprocess_exec(TURN_SERVER, *flags, stdout=asyncio.subprocess.DEVNULL)
    config = SimpleNamespace(
        stun_urls=(), turn_urls=(f"turn:{host}:{port}?transport=udp",), turn_secret=Secret(TURN_SECRET)
    )
    others = asyncio.all_tasks()
    try:
        yield lambda: ice.servers(config, "call_" + "a" * 32)
    finally:
        if leaving := asyncio.all_tasks() - others:  # aioice takes leave of a relay in a task, and asks again and again
            await asyncio.wait(leaving, timeout=10)
        process.terminate()
        await process.wait()


@pytest.mark.skipif(TURN_SERVER is None, reason="needs a relay: apt-get install coturn")
async def test_sound_goes_through_a_relay(a_worker, a_page_plan, control, monkeypatch, tmp_path):
    """The credentials of a call open coturn for page and worker, where nothing else connects them; old ones do not."""
    plan = a_page_plan()
    async with a_relay(tmp_path) as servers, a_worker(slots=1) as worker:
        monkeypatch.setattr(time, "time", lambda now=time.time: now() - ice.LASTS_S - 1)
        expired = servers()
        monkeypatch.undo()
        await until_relayed(servers())
        assert "typ relay" not in await gathered(expired)
        async with a_line(control, worker, plan, ice_servers=servers()) as line:
            async with Page(line.offer, relayed(servers())) as page:
                await page.connect()
                await heard(page)
            assert "typ relay" in line.replies[0].sdp
            assert "typ host" not in page.local_sdp


def relayed(servers) -> RTCConfiguration:
    (server,) = servers
    told = RTCIceServer(list(server.urls), server.username, server.credential)
    return RTCConfiguration(iceServers=[told], iceTransportPolicy=RTCIceTransportPolicy.RELAY)


async def gathered(servers) -> str:
    """The addresses that a page finds which wants to be reached through a relay only, as SDP."""
    connection = RTCPeerConnection(relayed(servers))
    connection.addTransceiver("audio")
    await connection.setLocalDescription(await connection.createOffer())
    found = connection.localDescription.sdp
    await connection.close()
    return found


async def until_relayed(servers) -> None:
    """Returns when the relay has started."""
    async with asyncio.timeout(30):
        while "typ relay" not in await gathered(servers):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def fingerprint(sdp: str) -> str:
    return re.search(r"a=fingerprint:\S+ (\S+)", sdp)[1]


async def heard(page: Page) -> None:
    """Returns when more has come of the agent's sound, which here is silence."""
    so_far = len(page.heard)
    async with asyncio.timeout(30):
        while len(page.heard) <= so_far:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
