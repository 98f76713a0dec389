"""WhatsApp's Cloud API for calls: what is said to Meta of a call, and the words for it that a call's row keeps.

Meta is given an answer to its offer twice, first so that sound finds its path, then to take the call: the same one, or
the second is refused.
"""

from typing import Final

from turncall_control.carriers.base import CarrierCall, Gone, Immovable, Rejected
from turncall_control.carriers.whatsapp import Graph
from turncall_control.wallet import WhatsAppSender

SPEAKS: Final = False
"""Nobody but an agent speaks to a caller, and no phone is rung for one: what is not taken is refused."""

TAKEN: Final = "taken"
WAITS: Final = "waits"
BUSY: Final = "busy"
UNANSWERED: Final = "no-answer"
OVER: Final = "over"

_INVALID_PARAMETER: Final = 100


def connect_stream(*, stream_url: str, action_url: str) -> str:
    """A worker holds a slot: it is asked for an answer to the offer."""
    return TAKEN


def hold(*, sentence: str | None, pause_s: int, ask_url: str) -> str:
    """The caller goes on hearing that it rings."""
    return WAITS


def reject(*, is_busy: bool) -> str:
    """What the call is to be called, once it is refused."""
    return BUSY if is_busy else UNANSWERED


def hang_up() -> str:
    """Nothing is left to be done."""
    return OVER


def say_and_hang_up(sentence: str) -> str:
    """Nothing can be said."""
    return UNANSWERED


def forward(*, sentence: str | None, number: str, caller_id: str, ring_s: int, action_url: str) -> str:
    """Nobody can be rung."""
    return UNANSWERED


class WhatsAppLine:
    """The lines of one sender. Every method raises a `CarrierError`."""

    def __init__(self, graph: Graph, sender: WhatsAppSender) -> None:
        self._graph = graph
        self._sender = sender

    async def pre_accept(self, provider_call_id: str, sdp: str) -> None:
        """Has sound find its path before the call is taken."""
        await self._act("pre_accept", provider_call_id, session={"sdp_type": "answer", "sdp": sdp})

    async def accept(self, provider_call_id: str, sdp: str) -> None:
        """Takes a call that rings, with the answer that was given before. Raises `Gone` when nobody rings any more."""
        await self._act("accept", provider_call_id, session={"sdp_type": "answer", "sdp": sdp})

    async def refuse(self, provider_call_id: str) -> None:
        """Ends a call that rings. Raises `Gone` when there is none."""
        await self._act("reject", provider_call_id)

    async def end_call(self, provider_call_id: str) -> None:
        """Hangs up. Raises `Gone` when there is nothing left to end."""
        await self._act("terminate", provider_call_id)

    async def redirect_call(self, provider_call_id: str, url: str) -> None:
        """Raises `Immovable`: a call's sound is agreed upon once (Cloud API Calling has no way to change it)."""
        raise Immovable("WhatsApp brings a live call to no other worker")

    async def fetch_call(self, provider_call_id: str) -> CarrierCall:
        """A call that may go on: WhatsApp cannot be asked, a webhook tells when it is over."""
        return CarrierCall(provider_call_id=provider_call_id, status="in-progress", is_inbound=True)

    async def _act(self, action: str, provider_call_id: str, **more: object) -> None:
        body = {"messaging_product": "whatsapp", "call_id": provider_call_id, "action": action, **more}
        try:
            await self._graph.ask("POST", f"{self._sender.phone_number_id}/calls", self._sender.access_token, body)
        except Rejected as error:
            if error.code == _INVALID_PARAMETER and not more:  # nothing but the call's id was given
                raise Gone(str(error), code=error.code) from error
            raise
