"""What a page and the worker of its call say to each other about their connection, through control."""

from datetime import UTC, datetime, timedelta
from typing import Final

from turncall_bus.bus import BusError
from turncall_control.errors import ControlError
from turncall_control.plane import Plane
from turncall_proto import subjects
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.ids import WorkerId
from turncall_proto.webrtc import EXCHANGE_WITHIN_S, CandidatesTold, SdpOffered, SdpReply


class WorkerGone(ControlError):
    """The worker that was to answer the offer is gone, or does not answer; another one may."""

    status, name, title = 504, "worker-silent", "The call's worker did not answer in time"


def deadline() -> datetime:
    """Until when a worker may answer what is asked now."""
    return datetime.now(UTC) + timedelta(seconds=EXCHANGE_WITHIN_S)


async def ask(plane: Plane, worker: WorkerId, what: SdpOffered | CandidatesTold) -> SdpReply:
    """What the worker says. Raises `WorkerGone`."""
    left_s = (what.deadline - datetime.now(UTC)).total_seconds()
    try:
        return decode(await plane.bus.ask(subjects.sdp(worker), encode(what), timeout_s=left_s), SdpReply)
    except (BusError, MalformedMessage) as error:
        raise WorkerGone("no worker answered the offer; offer again") from error


SOUND: Final = "m=audio "


def has_sound(sdp: str) -> bool:
    """Whether an offer has a line of sound at all; the worker is the judge of the rest."""
    return any(line.startswith(SOUND) for line in sdp.splitlines())
