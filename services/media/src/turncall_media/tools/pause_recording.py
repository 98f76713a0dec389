"""``pause_recording``: the model leaves something out of the recording, and records again."""

from typing import Any, Final

from turncall_media.tools.shape import Invocation, ToolFailed
from turncall_proto.agent import PauseRecordingTool

ENDS_REPLY: Final = False


def parameters(tool: PauseRecordingTool) -> dict[str, Any]:
    """Which of the two."""
    paused = {"type": "boolean", "description": "true before what is confidential, false when it has been said."}
    return {"type": "object", "properties": {"paused": paused}, "required": ["paused"], "additionalProperties": False}


async def run(tool: PauseRecordingTool, invocation: Invocation) -> Any:
    """The state it is in now. Raises `ToolFailed` when nothing is recorded."""
    is_paused = bool(invocation.arguments["paused"])
    if not invocation.reach.pause_recording(is_paused):
        raise ToolFailed("The call is not recorded.")
    return {"recording": "paused" if is_paused else "running"}
