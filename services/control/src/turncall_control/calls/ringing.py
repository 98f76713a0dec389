"""A call that a carrier announces, and the document that answers it."""

from msgspec import Struct

from turncall_proto import ids
from turncall_proto.call import CallStart
from turncall_proto.ids import CallId


class Ringing(Struct, frozen=True, kw_only=True):
    """A call that a carrier announces."""

    provider: str
    account: str
    provider_call_id: str
    from_number: str
    to_number: str

    @property
    def call_id(self) -> CallId:
        """The call's id, the same on every replica."""
        return ids.inbound_call_id(self.provider, self.account, self.provider_call_id)


class Admitted(Struct, frozen=True, kw_only=True):
    """The document that answers the carrier. ``plan`` is to be announced; None for a repeat and for a refusal.

    An answer that is not settled has the carrier ask again; only a settled one is kept for repeats.
    """

    answer: str
    plan: CallStart | None
    is_settled: bool = True
