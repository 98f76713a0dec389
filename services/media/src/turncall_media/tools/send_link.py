"""``send_link``: the model sends the contact an SMS with a link, by which the conversation goes on in writing.

Control knows the contact's number and makes the link: what the model says decides about neither.
"""

from typing import Any, Final

from turncall_media.tools.shape import Invocation
from turncall_proto.agent import SendLinkTool

ENDS_REPLY: Final = False


def parameters(tool: SendLinkTool) -> dict[str, Any]:
    """None are needed."""
    return {"type": "object", "properties": {}}


async def run(tool: SendLinkTool, invocation: Invocation) -> Any:
    """Has it sent. Raises `ToolFailed` with control's reason when it cannot be."""
    await invocation.reach.send_link(tool.url, tool.text, invocation.tool_call_id)
    return {"sent": True}
