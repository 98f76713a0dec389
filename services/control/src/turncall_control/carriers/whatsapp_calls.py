"""WhatsApp's Cloud API for calls: what is said to Meta of a call, and the words for it that a call's row keeps.

Meta is given an answer to its offer twice, first so that sound finds its path, then to take the call: the same one, or
the second is refused.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from turncall_control.carriers.base import CarrierCall, Gone, Immovable, Rejected, Unavailable
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


class _Action(Struct, frozen=True, kw_only=True):
    action_name: str
    can_perform_action: bool = False


class _Permission(Struct, frozen=True, kw_only=True):
    actions: tuple[_Action, ...] = ()


class _Call(Struct, frozen=True, kw_only=True):
    id: str


class _Placed(Struct, frozen=True, kw_only=True):
    calls: tuple[_Call, ...]


class WhatsAppLine:
    """The lines of one sender. Every method raises a `CarrierError`."""

    def __init__(self, graph: Graph, sender: WhatsAppSender) -> None:
        self._graph = graph
        self._sender = sender
        self._path = f"{sender.phone_number_id}/calls"

    async def pre_accept(self, provider_call_id: str, sdp: str) -> None:
        """Has sound find its path before the call is taken."""
        await self._act("pre_accept", provider_call_id, session={"sdp_type": "answer", "sdp": sdp})

    async def accept(self, provider_call_id: str, sdp: str) -> None:
        """Takes a call that rings, with the answer that was given before. Raises `Gone` when nobody rings any more."""
        await self._act("accept", provider_call_id, session={"sdp_type": "answer", "sdp": sdp})

    async def refuse(self, provider_call_id: str) -> None:
        """Ends a call that rings. Raises `Gone` when there is none."""
        await self._act("reject", provider_call_id)

    async def may_call(self, to_number: str) -> bool:
        """Whether the person lets this number call, at this moment."""
        person = to_number.removeprefix("+")
        path = f"{self._sender.phone_number_id}/call_permissions?user_wa_id={person}"
        answer = await self._graph.ask("GET", path, self._sender.access_token)
        try:
            actions = msgspec.json.decode(answer, type=_Permission).actions
        except msgspec.DecodeError as error:
            raise Unavailable("WhatsApp gave an answer that is not understood") from error
        return any(one.action_name == "start_call" and one.can_perform_action for one in actions)

    async def place_call(self, to_number: str, sdp: str, reference: str) -> str:
        """Has WhatsApp call a person, with an offer of sound; its id of the call. Posted once; webhooks bring
        ``reference`` back. Raises as `Carrier.place_call` does, and `NotPermitted`."""
        body = {
            "messaging_product": "whatsapp",
            "to": to_number.removeprefix("+"),
            "action": "connect",
            "session": {"sdp_type": "offer", "sdp": sdp},
            "biz_opaque_callback_data": reference,
        }
        answer = await self._graph.ask("POST", self._path, self._sender.access_token, body)
        try:
            return msgspec.json.decode(answer, type=_Placed).calls[0].id
        except (msgspec.DecodeError, IndexError) as error:
            raise Unavailable("WhatsApp gave an answer that is not understood") from error

    async def placed_calls(self, from_number: str, to_number: str, since: datetime) -> list[str]:
        """None: WhatsApp lists no calls; a webhook brings the reference of one whose answer was lost."""
        return []

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
            await self._graph.ask("POST", self._path, self._sender.access_token, body)
        except Rejected as error:
            if error.code == _INVALID_PARAMETER and not more:  # nothing but the call's id was given
                raise Gone(str(error), code=error.code) from error
            raise
