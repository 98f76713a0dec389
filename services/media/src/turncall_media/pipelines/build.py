"""From the plan of a call to its conversation."""

from turncall_media.pipelines.conversation import Conversation
from turncall_media.seams import Reporter, Resources
from turncall_media.wire.twilio import TwilioWire
from turncall_proto.call import CallStart


def build_conversation(plan: CallStart, wire: TwilioWire, reporter: Reporter, resources: Resources) -> Conversation:
    """The conversation that ``plan`` asks for. Raises `MediaError` when a vendor, an option or a secret is unusable."""
    raise NotImplementedError
