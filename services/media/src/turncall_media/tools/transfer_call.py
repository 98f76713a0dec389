"""``transfer_call``: the model has the caller connected to a person, once what it says beside that was heard.

Whom it may choose is in the agent's definition; control checks that again. If nobody takes the call, the caller comes
back to this agent, which is told why.
"""

from typing import Any, Final

from turncall_media.tools.shape import Invocation
from turncall_proto.agent import TransferTool
from turncall_proto.command import TransferOrder

ENDS_REPLY: Final = True
MOST_SUMMARY: Final = 1000


def parameters(tool: TransferTool) -> dict[str, Any]:
    """Who, and for a tool that briefs with a summary, what the person needs to know."""
    known = [f"{one.name}: {one.description}" if one.description else one.name for one in tool.destinations]
    names = [one.name for one in tool.destinations]
    properties: dict[str, Any] = {
        "destination": {"type": "string", "enum": names, "description": "; ".join(known)},
    }
    if tool.briefs_with_summary:
        told = "What the person needs to know before taking over: who calls, why, what was done. Two sentences."
        properties["summary"] = {"type": "string", "minLength": 1, "maxLength": MOST_SUMMARY, "description": told}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


async def run(tool: TransferTool, invocation: Invocation) -> Any:
    """Lets the caller go. Raises `ToolFailed` with control's reason when nobody is to be called."""
    reach, wanted = invocation.reach, invocation.arguments
    target = next(one for one in tool.destinations if one.name == wanted["destination"])
    await reach.speech_heard()
    order = TransferOrder(
        to=target.to,
        mode=tool.mode,
        briefing=" ".join(filter(None, (tool.briefing, wanted.get("summary", "")))),
        accept_key=tool.accept_key,
        ring_s=tool.ring_s,
    )
    await reach.transfer(order, tool.name)
    return {"connecting_to": target.name}
