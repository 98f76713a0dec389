"""A real worker process whose agent listens and says nothing: the whole edge, without models to load.

``python quiet_worker.py`` with the environment of a media worker.
"""

import asyncio
import os
import sys

from turncall_media import app
from turncall_media.config import MediaConfig
from turncall_media.seams import Outcome, SocketClosed
from turncall_media.wire.stream import StreamStopped
from turncall_proto.call import CallState, EndedReason
from turncall_proto.command import AnyCommand, CommandReply, EndCall
from turncall_runtime import logs
from turncall_runtime.config import load, secrets_of

HUNG_UP = Outcome(state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)


class Listener:
    """A conversation that lasts until the caller hangs up or somebody ends it."""

    def __init__(self, plan, wire, reporter, resources, past) -> None:
        self._wire = wire
        self._end = asyncio.get_running_loop().create_future()

    async def run(self) -> Outcome:
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({reading, self._end}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return HUNG_UP
            reason = self._end.result()
            return Outcome(state=CallState.COMPLETED if reason else None, reason=reason)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def finish(self) -> None:
        return

    def hand_over(self, *, at_once: bool) -> None:
        """This one is never quiet."""
        if at_once and not self._end.done():
            self._end.set_result(None)

    async def obey(self, command: AnyCommand) -> CommandReply:
        """It knows how to end, and nothing else."""
        if not isinstance(command, EndCall):
            return CommandReply(outcome="refused")
        if not self._end.done():
            self._end.set_result(command.reason)
        return CommandReply(outcome="done")

    async def _read(self) -> None:
        try:
            while not isinstance(await self._wire.receive(), StreamStopped):
                pass
        except SocketClosed:
            return


async def build(plan, wire, reporter, resources, past) -> Listener:
    return Listener(plan, wire, reporter, resources, past)


def main() -> int:
    config = load(MediaConfig, os.environ)
    logs.configure("media", config.log_level, secrets_of(config))
    return 0 if asyncio.run(app.run(config, build, lambda plan: None, None)) else 1


if __name__ == "__main__":
    sys.exit(main())
