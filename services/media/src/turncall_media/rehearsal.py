"""One call that nobody hears, before the first real one: it loads what loads late and shows that calls can be built.

The first call of a process otherwise pays 0.6 to 1 s for imports and models (measured with Pipecat 1.14).
"""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, json

from turncall_media.audio import ambience
from turncall_media.errors import MediaError
from turncall_media.seams import MediaSocket, Reporter, Resources, SocketClosed
from turncall_media.session import Station
from turncall_media.tools.shape import ToolFailed
from turncall_media.wire.twilio import TwilioWire
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallStart, CallState
from turncall_proto.command import ActReply, HandoffReply, TransferOrder
from turncall_proto.events import CallEvent
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId

WITHIN_S: Final = 10.0
"""The longest that the first words may take; a slower worker is slow, not broken."""
_FRAME_S: Final = 0.02
_CALL: Final = "rehearsal"
_CONNECTED: Final = '{"event":"connected"}'
_START: Final = json.encode(
    {
        "event": "start",
        "start": {
            "accountSid": _CALL,
            "callSid": _CALL,
            "streamSid": _CALL,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }
).decode()
_SILENT_FRAME: Final = json.encode(
    {"event": "media", "streamSid": _CALL, "media": {"timestamp": "0", "payload": b"\xff" * 160}}
).decode()
_STOP: Final = json.encode({"event": "stop", "streamSid": _CALL}).decode()


class NotReady(MediaError):
    """The rehearsal failed: this worker would fail real calls too."""


async def rehearse(station: Station, agent: AgentSpec) -> float:
    """Runs ``agent`` until its first words and hangs up; seconds until those words. Raises `NotReady`."""
    ambience.warm()
    line = _EmptyLine()
    wire = TwilioWire(line)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            await wire.open(WITHIN_S)
            conversation = await station.build(_plan(agent), wire, _Unheard(), _resources(station), None)
            outcome = await conversation.run()
    except (MediaError, TimeoutError) as error:
        raise NotReady(f"the rehearsal of a call failed: {error or 'it did not end'}") from error
    if outcome.state is CallState.FAILED:
        raise NotReady(f"the rehearsal of a call ended with {outcome.reason}")
    return (line.spoken_at_s or loop.time()) - began_s


class _EmptyLine(MediaSocket):
    """A carrier with a silent caller who hangs up at the agent's first word."""

    def __init__(self) -> None:
        self._script = [_CONNECTED, _START]
        self._is_over = False
        self._deadline_s = asyncio.get_running_loop().time() + WITHIN_S
        self.spoken_at_s: float | None = None

    async def receive(self) -> str:
        if self._script:
            return self._script.pop(0)
        await asyncio.sleep(_FRAME_S)
        if self._is_over:
            raise SocketClosed(1000)
        if self.spoken_at_s is not None or asyncio.get_running_loop().time() >= self._deadline_s:
            self._is_over = True
            return _STOP
        return _SILENT_FRAME

    async def send(self, text: str) -> None:
        if self._is_over:
            raise SocketClosed(1000)
        if self.spoken_at_s is None and '"media"' in text:
            self.spoken_at_s = asyncio.get_running_loop().time()

    async def close(self, code: int, reason: str) -> None:
        self._is_over = True


class _Unheard(Reporter):
    """States nothing: the call does not exist."""

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None: ...

    def whisper(self, message: Struct) -> None: ...


def _resources(station: Station) -> Resources:
    return Resources(
        worker=station.worker,
        now=station.now,
        open_secret=station.open_secret,
        blobs=station.blobs,
        egress_allow=station.egress_allow,
        recordings_spool=station.recordings_spool,
        circuits=station.circuits,
        hand_off=_to_nobody,
        transfer=_to_no_person,
        send_link=_to_no_phone,
        opt_out=_of_nobody,
        models_dir=station.models_dir,
    )


async def _to_no_person(_: TransferOrder, __: str) -> ActReply:
    return ActReply(is_taken=False, detail="the call does not exist")


async def _to_no_phone(_: str, __: str, ___: str) -> None:
    raise ToolFailed("The call does not exist.")


async def _of_nobody() -> ActReply:
    return ActReply(is_taken=False, detail="the call does not exist")


async def _to_nobody(_: AgentId, __: str) -> HandoffReply:
    return HandoffReply(plan=None, detail="the call does not exist")


def _plan(agent: AgentSpec) -> CallStart:
    return CallStart(
        call_id=CallId(ids.mint(ids.CALL)),
        project_id=ProjectId(ids.mint(ids.PROJECT)),
        epoch=1,
        agent_id=AgentId(ids.mint(ids.AGENT)),
        version_id=VersionId(ids.mint(ids.VERSION)),
        agent=agent,
        channel="phone",
        direction="inbound",
        from_number="",
        to_number="",
        provider=_CALL,
        provider_call_id=_CALL,
        planned_at=datetime.now(UTC),
    )
