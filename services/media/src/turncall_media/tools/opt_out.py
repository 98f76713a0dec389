"""``opt_out``: the person is not to be called any more. Whose number that is, control knows; the model says nothing."""

from typing import Any, Final

from turncall_media.tools.shape import Invocation, ToolFailed
from turncall_proto.agent import OptOutTool

ENDS_REPLY: Final = False


def parameters(tool: OptOutTool) -> dict[str, Any]:
    """None."""
    return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


async def run(tool: OptOutTool, invocation: Invocation) -> Any:
    """Returns when the number is on the list. Raises `ToolFailed` with control's reason when it is not."""
    reply = await invocation.reach.opt_out()
    if not reply.is_taken:
        raise ToolFailed(f"The person cannot be taken off: {reply.detail}.")
    return {"is_called_again": False}
