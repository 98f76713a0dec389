"""A call that a carrier announces, and the document that answers it."""

from functools import cached_property

from msgspec import Struct

from turncall_control.callinit.contract import Arrival
from turncall_control.carriers.accounts import Proof
from turncall_control.plane import Plane
from turncall_control.routing import BoundNumber
from turncall_proto import ids
from turncall_proto.call import CallStart, Channel
from turncall_proto.ids import CallId


class Ringing(Struct, frozen=True, kw_only=True, dict=True):
    """A call that a carrier announces, and what its signature proves."""

    provider: str
    proof: Proof
    provider_call_id: str
    from_number: str
    to_number: str
    channel: Channel = "phone"

    @property
    def may_be_repeated(self) -> bool:
        """Whether another process may be asked about it at the same time: carriers repeat webhooks."""
        return True

    @property
    def account(self) -> str:
        """The carrier's account that the call is in."""
        return self.proof.account

    @cached_property
    def call_id(self) -> CallId:
        """The call's id, the same on every replica."""
        return ids.inbound_call_id(self.provider, self.account, self.provider_call_id)

    def arrival(self, number: BoundNumber) -> Arrival:
        """The call as the user's server is told of it."""
        return Arrival(
            call_id=self.call_id,
            project_id=number.project_id,
            number_id=number.number_id,
            channel=self.channel,
            direction="inbound",
            from_number=self.from_number,
            to_number=self.to_number,
            provider=self.provider,
            provider_call_id=self.provider_call_id,
        )


class Admitted(Struct, frozen=True, kw_only=True):
    """The document that answers the carrier. ``plan`` is to be announced; None for a repeat and for a refusal.

    An answer that is not settled has the carrier ask again; only a settled one is kept for repeats.
    """

    answer: str
    plan: CallStart | None
    is_settled: bool = True


def is_proven(plane: Plane, proof: Proof, number: BoundNumber) -> bool:
    """Whether a webhook is of the account that owns the number, by a token that its project goes by."""
    return proof.covers(number.project_id, number.account or plane.accounts.installation)
