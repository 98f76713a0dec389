"""``end_call``: the model ends the call; what it says beside that is heard to its end first.

A caller who speaks into the goodbye is not cut off: the interruption cancels the tool and the call goes on.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

from turncall_media.tools.shape import Invocation
from turncall_proto.agent import EndCallTool
from turncall_proto.call import EndedReason

ENDS_REPLY: Final = True
GOODBYE_WITHIN_S: Final = 30.0
"""The longest goodbye; after that the call ends in the middle of it."""


def parameters(tool: EndCallTool) -> dict[str, Any]:
    """None are needed."""
    return {"type": "object", "properties": {}}


async def run(tool: EndCallTool, invocation: Invocation) -> Any:
    """Ends the call once the goodbye was heard."""
    reach = invocation.reach
    with suppress(TimeoutError):  # long enough
        async with asyncio.timeout(GOODBYE_WITHIN_S):
            await reach.speech_heard()
    reach.end(EndedReason.ASSISTANT_ENDED_CALL)
    return {"ended": True}
