"""Voice calls through WhatsApp: who rings whom, whose description of sound was taken, and what webhooks tell of it.

Sound itself goes between the two ends of a call; whoever plays a person makes the descriptions (SDP) for it.
"""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from secrets import token_hex
from typing import Literal, Protocol

import msgspec

from turncall_phone.clock import Clock, sleep
from turncall_phone.meta.messages import BusinessPhone, Json, change, contact
from turncall_phone.meta.refusals import Refusal

ACCEPT_WITHIN_S = 30.0
"""How long a business has to take a call, and a person."""
NO_PERMISSION = 138006

State = Literal["rings", "prepared", "taken", "over"]


class MetaCall(msgspec.Struct, kw_only=True, eq=False):
    """One call. ``offer`` and ``answer`` are the descriptions of sound; a person's end is whoever rings or is rung.

    ``acts`` are the business's words about it that were taken, in their order.
    """

    id: str
    phone: BusinessPhone
    person: str
    is_business: bool
    offer: str = ""
    answer: str = ""
    reference: str = ""
    state: State = "rings"
    taken_at: datetime | None = None
    acts: list[str] = msgspec.field(default_factory=list)

    async def reaches(self, *states: State, timeout_s: float) -> None:
        """Returns once the call is in one of these states; raises TimeoutError."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.state not in states:  # noqa: ASYNC110 - facts of many tasks
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise TimeoutError(f"the call did not become {states}: {self.state}, after {self.acts}") from None


class Post(Protocol):
    """How webhooks go out, and work that goes on beside."""

    clock: Clock

    def bring(self, *changes: Json) -> None:
        """Send one webhook with these changes."""
        ...

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Have this done."""
        ...


class Calls:
    """The calls of one app's numbers."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._permitted: set[tuple[str, str]] = set()
        self.made: dict[str, MetaCall] = {}
        self.accept_within_s = ACCEPT_WITHIN_S

    # What a person does.

    def ring(self, phone: BusinessPhone, *, person: str, offer: str) -> MetaCall:
        """A person calls a number, with a description of sound."""
        call = self.rung(phone, person=person, offer=offer)
        self._post.bring(self.connecting(call))
        return call

    def rung(self, phone: BusinessPhone, *, person: str, offer: str) -> MetaCall:
        """The same, while nothing has been told of it yet."""
        call = self._make(phone, person, is_business=False)
        call.offer = offer
        return call

    def hang_up(self, call: MetaCall) -> None:
        """The person puts the phone down, or no longer wants to wait."""
        self._end(call)

    def pick_up(self, call: MetaCall, answer: str) -> None:
        """A person takes a business's call, with a description of sound that answers the business's."""
        call.answer, call.state, call.taken_at = answer, "taken", self._post.clock.now()
        self._post.bring(self.connecting(call))
        self._tell_status(call, "ACCEPTED")

    def turn_away(self, call: MetaCall) -> None:
        """A person declines a business's call; one webhook tells of that and of the end."""
        call.state = "over"
        self._post.bring(self._status(call, "REJECTED"), self.ended(call))

    def permit(self, phone: BusinessPhone, person: str) -> None:
        """A person lets a number call."""
        self._permitted.add((phone.id, person))

    def forbid(self, phone: BusinessPhone, person: str) -> None:
        """A person does not let it call any more."""
        self._permitted.discard((phone.id, person))

    async def placed(self, person: str, *, timeout_s: float) -> MetaCall:
        """The business's call to a person, once there is one; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                for call in self.made.values():
                    if call.is_business and call.person == person:
                        return call
                await asyncio.sleep(0.01)

    # What webhooks tell.

    def connecting(self, call: MetaCall) -> Json:
        """The change that tells of a call and of its sound."""
        kind, sdp = ("answer", call.answer) if call.is_business else ("offer", call.offer)
        return self._told(call, "connect", session={"sdp_type": kind, "sdp": sdp})

    def ended(self, call: MetaCall) -> Json:
        """The change that tells of a call's end; only one that was taken has a beginning and lasted."""
        said: Json = {"status": "COMPLETED" if call.taken_at else "FAILED"}
        if call.taken_at is not None:
            began, now = int(call.taken_at.timestamp()), int(self._post.clock.now().timestamp())
            said |= {"start_time": str(began), "end_time": str(now), "duration": now - began}
        return self._told(call, "terminate", **said)

    # What the Graph API acts on.

    def act(self, phone: BusinessPhone, body: Json) -> Json:
        """One of a business's words about a call. Raises `Refusal`."""
        action = body.get("action")
        if action == "connect":
            return self._place(phone, body)
        call = self.made.get(str(body.get("call_id")))
        if call is None or call.phone.id != phone.id or call.state == "over":
            raise Refusal(400, 100, "Invalid parameter: call_id")
        match action:
            case "pre_accept" | "accept" if not call.is_business:
                self._take(call, str(action), _sdp(body, "answer"))
            case "reject" if call.state in ("rings", "prepared"):
                self._end(call)
            case "terminate":
                self._end(call)
            case _:
                raise Refusal(400, 100, "Invalid parameter: action")
        call.acts.append(str(action))
        return {"messaging_product": "whatsapp", "success": True}

    def permission(self, phone: BusinessPhone, person: str) -> Json:
        """Whether a person lets a number call."""
        is_granted = (phone.id, person) in self._permitted
        actions = [
            {"action_name": "start_call", "can_perform_action": is_granted},
            {"action_name": "send_call_permission_request", "can_perform_action": not is_granted},
        ]
        return {
            "messaging_product": "whatsapp",
            "permission": {"status": "granted" if is_granted else "no_permission"},
            "actions": actions,
        }

    def _take(self, call: MetaCall, action: str, answer: str) -> None:
        """Both words of a business that takes a call must hold the same description; sound flows after the second."""
        if call.state == "taken":
            raise Refusal(400, 138003, "The call is in progress already")
        if call.state == "prepared" and call.answer != answer:
            raise Refusal(400, 100, "The SDP of accept differs from that of pre_accept")
        call.answer = answer
        call.state = "prepared" if action == "pre_accept" else "taken"
        if action == "accept":
            call.taken_at = self._post.clock.now()

    def _place(self, phone: BusinessPhone, body: Json) -> Json:
        person = str(body.get("to", "")).removeprefix("+")
        if not person.isdigit():
            raise Refusal(400, 100, "Invalid parameter: to")
        if (phone.id, person) not in self._permitted:
            raise Refusal(400, NO_PERMISSION, "No approved call permission from the recipient")
        offer = _sdp(body, "offer")
        call = self._make(phone, person, is_business=True)
        call.offer, call.reference = offer, str(body.get("biz_opaque_callback_data", ""))
        self._tell_status(call, "RINGING")
        return {"messaging_product": "whatsapp", "calls": [{"id": call.id}]}

    def _make(self, phone: BusinessPhone, person: str, *, is_business: bool) -> MetaCall:
        call = MetaCall(id=f"wacid.{token_hex(20).upper()}", phone=phone, person=person, is_business=is_business)
        self.made[call.id] = call
        self._post.run(self._give_up(call))
        return call

    async def _give_up(self, call: MetaCall) -> None:
        await sleep(self._post.clock, self.accept_within_s)
        if call.state in ("rings", "prepared"):
            self._end(call)

    def _end(self, call: MetaCall) -> None:
        if call.state != "over":
            call.state = "over"
            self._post.bring(self.ended(call))

    def _told(self, call: MetaCall, event: str, **more: object) -> Json:
        parties = (call.phone.number, call.person) if call.is_business else (call.person, call.phone.number)
        said: Json = {
            "id": call.id,
            "from": parties[0],
            "to": parties[1],
            "event": event,
            "timestamp": str(int(self._post.clock.now().timestamp())),
            "direction": "BUSINESS_INITIATED" if call.is_business else "USER_INITIATED",
            **more,
        }
        if call.reference:
            said["biz_opaque_callback_data"] = call.reference
        return change(call.phone, "calls", contacts=[contact(call.person)], calls=[said])

    def _tell_status(self, call: MetaCall, status: str) -> None:
        self._post.bring(self._status(call, status))

    def _status(self, call: MetaCall, status: str) -> Json:
        said: Json = {
            "id": call.id,
            "type": "call",
            "status": status,
            "timestamp": str(int(self._post.clock.now().timestamp())),
            "recipient_id": call.person,
        }
        if call.reference:
            said["biz_opaque_callback_data"] = call.reference
        return change(call.phone, "calls", statuses=[said])


def _sdp(body: Json, kind: str) -> str:
    session = body.get("session")
    sdp = session.get("sdp") if isinstance(session, dict) and session.get("sdp_type") == kind else None
    if not isinstance(sdp, str) or "m=audio" not in sdp or "a=candidate" not in sdp:
        raise Refusal(400, 100, "SDP Validation error: invalid session")
    algorithms = {line.split(":")[1].split()[0] for line in sdp.splitlines() if line.startswith("a=fingerprint:")}
    if algorithms != {"sha-256"}:
        raise Refusal(400, 100, "SDP Validation error: one fingerprint of sha-256 is needed")
    return sdp
