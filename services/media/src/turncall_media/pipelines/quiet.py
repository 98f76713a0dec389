"""When a call can change hands unnoticed: nobody speaks, nobody is about to, and no tool is at work.

A worker that is late has not heard yet what the caller says at this moment, so it is not quiet there.
"""

import asyncio
from typing import Final

from turncall_media.pipelines.speech import Speech
from turncall_media.report.events import Narrator

QUIET_S: Final = 0.3
"""Of silence on both sides; shorter than the pause in which a caller expects an answer."""
_LOOK_AGAIN_S: Final = 0.05


async def quiet(speech: Speech, narrator: Narrator) -> None:
    """Returns `QUIET_S` into the next silence."""
    loop = asyncio.get_running_loop()
    while True:
        await speech.heard()
        since_s = loop.time()
        while not (narrator.is_busy or narrator.is_behind or speech.is_reply_under_way):
            if loop.time() - since_s >= QUIET_S:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)
        await asyncio.sleep(_LOOK_AGAIN_S)
