"""A worker's local record of the facts it states: written to disk first, published after, deleted when settled."""

from collections.abc import Iterable
from pathlib import Path

from turncall_bus.bus import Bus
from turncall_proto.command import SpooledEpoch
from turncall_proto.events import Event
from turncall_proto.ids import CallId


class Spool:
    """One folder of append-only files, one file per call and epoch, and one task that publishes from them in order."""

    def __init__(self, folder: Path, bus: Bus) -> None:
        raise NotImplementedError

    def append(self, event: Event) -> None:
        """Writes the fact to its epoch's file and lets the publisher know. Never waits for the network."""
        raise NotImplementedError

    def epochs(self) -> list[SpooledEpoch]:
        """What the disk holds, adopted files of earlier processes included."""
        raise NotImplementedError

    def settle(self, epochs: Iterable[SpooledEpoch]) -> None:
        """Deletes files that control says are safe; a file that has grown since is kept."""
        raise NotImplementedError

    def again(self, call_id: CallId, epoch: int, seqs: Iterable[int]) -> None:
        """Publishes the named facts once more."""
        raise NotImplementedError

    async def run(self) -> None:
        """Publishes until cancelled, 200 in flight at most, with a jittered back-off while the bus is away."""
        raise NotImplementedError

    async def flush(self, timeout_s: float) -> bool:
        """Waits until everything appended so far is acknowledged; False when the time ran out."""
        raise NotImplementedError
