"""``send_dtmf``: the model presses keys, as tones in the call's own audio.

The media stream stays as it is: a carrier's command to play digits would end it, and the agent with it.
"""

from typing import Any, Final

from turncall_media.audio.tones import tones
from turncall_media.tools.shape import Invocation
from turncall_proto.agent import SendDtmfTool
from turncall_proto.command import KEYS_PATTERN

ENDS_REPLY: Final = False


def parameters(tool: SendDtmfTool) -> dict[str, Any]:
    """The keys."""
    keys = {
        "type": "string",
        "pattern": KEYS_PATTERN,
        "description": "Keys in their order: 0-9, *, #, A-D; w waits half a second, W a whole one.",
    }
    return {"type": "object", "properties": {"digits": keys}, "required": ["digits"], "additionalProperties": False}


async def run(tool: SendDtmfTool, invocation: Invocation) -> Any:
    """Returns when the other side has heard the tones."""
    reach = invocation.reach
    digits = invocation.arguments["digits"].removesuffix("\n")  # which the pattern lets pass
    await reach.speech_heard()
    await reach.play(tones(digits))
    await reach.speech_heard()
    return {"sent": digits}
