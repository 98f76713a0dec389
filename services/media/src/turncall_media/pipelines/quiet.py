"""When nothing happens on a call: nobody speaks, nobody is about to, and no tool is at work.

A worker that is late has not heard yet what the caller says at this moment, so it is not quiet there.
"""

import asyncio
from typing import Final

from turncall_media.pipelines.speech import Speech
from turncall_media.report.events import Narrator

QUIET_S: Final = 0.3
"""After which a call can change hands unnoticed: shorter than the pause in which a caller expects an answer."""
_LOOK_AGAIN_S: Final = 0.05


async def quiet(speech: Speech, narrator: Narrator, for_s: float = QUIET_S) -> None:
    """Returns ``for_s`` into the next silence, counted from when the caller has heard all that the agent said."""
    loop = asyncio.get_running_loop()
    while True:
        while _is_busy(speech, narrator):  # noqa: ASYNC110 - a dozen causes; waking for each would cost more
            await asyncio.sleep(_LOOK_AGAIN_S)
        lines = speech.lines
        await speech.heard()
        until_s = loop.time() + for_s
        while speech.lines == lines and not _is_busy(speech, narrator):
            left_s = until_s - loop.time()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, _LOOK_AGAIN_S))


def _is_busy(speech: Speech, narrator: Narrator) -> bool:
    return narrator.is_busy or narrator.is_behind or speech.is_reply_under_way
