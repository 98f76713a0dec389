"""``webhook``: a function of the user's own server, as a signed POST of the model's arguments.

The body is ``{"call_id", "tool_call_id", "tool", "arguments"}``. It is signed by Standard Webhooks 1.0, and its
``Idempotency-Key`` is the id of the tool call, so that a server that sees it twice can tell. What the server answers
with a 2xx goes to the model: JSON as it is, other text as a string.
"""

import time
from typing import Any, Final

from msgspec import DecodeError, json

from turncall_egress import EgressAnswer, EgressError, Refused, TimedOut, TooLarge
from turncall_egress.signing import signed_headers
from turncall_media.tools.shape import Invocation, ToolFailed
from turncall_proto.agent import WebhookTool

ENDS_REPLY: Final = False
LARGEST_ANSWER_BYTES: Final = 32 * 1024
"""More would not fit a model's attention, nor a message between the planes."""


def parameters(tool: WebhookTool) -> dict[str, Any]:
    """As the user wrote them."""
    return tool.parameters


async def run(tool: WebhookTool, invocation: Invocation) -> Any:
    """The server's answer. Raises `ToolFailed` with words that the model can pass on."""
    reach = invocation.reach
    if not reach.signing_secrets:
        raise ToolFailed("This function is not set up: its requests cannot be signed.")
    message_id = invocation.tool_call_id.replace(".", "_")  # a signed id holds no dot
    body = json.encode(
        {
            "call_id": reach.call_id,
            "tool_call_id": invocation.tool_call_id,
            "tool": tool.name,
            "arguments": invocation.arguments,
        }
    )
    headers = signed_headers(reach.signing_secrets, message_id, int(time.time()), body)
    try:
        answer = await reach.egress.request(
            "POST",
            tool.url,
            body=body,
            headers=headers | {"Content-Type": "application/json", "Idempotency-Key": message_id},
            timeout_s=tool.timeout_ms / 1000,
            max_bytes=LARGEST_ANSWER_BYTES,
        )
    except EgressError as error:
        raise ToolFailed(_apology(error)) from error
    return _content(answer)


def _apology(error: EgressError) -> str:
    match error:
        case TimedOut():
            return "The function did not answer in time. It may have done its work."
        case TooLarge():
            return "The function answered with more than can be read."
        case Refused():
            return "The address of this function is not allowed."
        case _:
            return "The function could not be reached."


def _content(answer: EgressAnswer) -> Any:
    if not 200 <= answer.status < 300:
        raise ToolFailed(f"The function refused with status {answer.status}.")
    try:
        return json.decode(answer.body) if answer.body else {}
    except (DecodeError, RecursionError):
        return answer.body.decode("utf-8", errors="replace")
