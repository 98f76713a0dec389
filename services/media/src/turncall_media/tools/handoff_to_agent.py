"""``handoff_to_agent``: the model gives the call to another agent, once what it says beside that was heard.

Whom it may choose is in the agent's definition, and an answer outside of that never leaves this process. A caller who
speaks into the last words keeps the agent: the interruption cancels the tool before anything was asked for.
"""

from typing import Any, Final

from turncall_media.tools.shape import Invocation
from turncall_proto.agent import HandoffTool

ENDS_REPLY: Final = True


def parameters(tool: HandoffTool) -> dict[str, Any]:
    """Which agent, and why."""
    known = [f"{target.name}: {target.description}" if target.description else target.name for target in tool.agents]
    agent = {"type": "string", "enum": [target.name for target in tool.agents], "description": "; ".join(known)}
    reason = {"type": "string", "maxLength": 1000, "description": "Why, in a sentence, for the other agent."}
    return {
        "type": "object",
        "properties": {"agent": agent, "reason": reason},
        "required": ["agent"],
        "additionalProperties": False,
    }


async def run(tool: HandoffTool, invocation: Invocation) -> Any:
    """Gives the call away. Raises `ToolFailed` with control's reason when it cannot be."""
    reach, wanted = invocation.reach, invocation.arguments
    target = next(target for target in tool.agents if target.name == wanted["agent"])
    await reach.speech_heard()
    await reach.hand_off(target.agent_id, wanted.get("reason", ""))
    return {"handed_to": target.name}
