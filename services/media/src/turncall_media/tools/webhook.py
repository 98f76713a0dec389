"""``webhook``: a function of the user's own server, as a signed POST of the model's arguments.

The body is ``{"call_id", "tool_call_id", "tool", "arguments"}``. It is signed by Standard Webhooks 1.0, and its
``Idempotency-Key`` is the id of the tool call, so that a server that sees it twice can tell. What the server answers
with a 2xx goes to the model: JSON as it is, other text as a string, and of what is too long the beginning, named so.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec import DecodeError, json

from turncall_egress import EgressAnswer, EgressError, Refused, TimedOut, authority, checked_url
from turncall_egress.signing import signed_headers
from turncall_media.tools.answers import shortened
from turncall_media.tools.shape import CallReach, Invocation, ToolFailed
from turncall_proto.agent import WebhookTool

ENDS_REPLY: Final = False
PAUSES_S: Final = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Before each attempt after the first."""
_PASSING: Final = frozenset({408, 429})


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
    for attempt in range(tool.max_retries + 1):
        if attempt:
            await asyncio.sleep(PAUSES_S[attempt - 1])
        is_last = attempt == tool.max_retries
        try:
            answer = await _ask(tool, reach, message_id, body)
        except EgressError as error:
            if is_last or isinstance(error, Refused):
                raise ToolFailed(_apology(error)) from error
            continue
        if is_last or not (answer.status in _PASSING or answer.status >= 500):
            break
    return _content(answer, tool.max_result_bytes)


async def _ask(tool: WebhookTool, reach: CallReach, message_id: str, body: bytes) -> EgressAnswer:
    """One attempt: the same message, signed at this moment. One byte more than wanted shows that there is more."""
    signed = signed_headers(reach.signing_secrets, message_id, int(time.time()), body)
    return await reach.egress.request(
        "POST",
        tool.url,
        body=body,
        headers={
            **tool.headers,
            **_secret_headers(tool.url, reach),
            **signed,
            "Content-Type": "application/json",
            "Idempotency-Key": message_id,
        },
        timeout_s=tool.timeout_ms / 1000,
        max_bytes=tool.max_result_bytes + 1,
        is_cut=True,
    )


def _secret_headers(url: str, reach: CallReach) -> Mapping[str, str]:
    return reach.server_headers.get(authority(checked_url(url)), {}) if reach.server_headers else {}


def _apology(error: EgressError) -> str:
    match error:
        case TimedOut():
            return "The function did not answer in time. It may have done its work."
        case Refused():
            return "The address of this function is not allowed."
        case _:
            return "The function could not be reached."


def _content(answer: EgressAnswer, max_bytes: int) -> Any:
    if not 200 <= answer.status < 300:
        raise ToolFailed(f"The function refused with status {answer.status}.")
    if len(answer.body) > max_bytes:
        return shortened(answer.body, max_bytes)
    try:
        return json.decode(answer.body) if answer.body else {}
    except (DecodeError, RecursionError):
        return answer.body.decode("utf-8", errors="replace")
