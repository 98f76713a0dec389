"""What can go wrong with one call: each class knows whether trying again may help and how the call ends."""

from typing import ClassVar

from turncall_media.seams import Outcome
from turncall_proto.call import CallState, EndedReason


class MediaError(Exception):
    """A call cannot be served. ``retryable``: another worker or a later moment may do. ``outcome``: how it ends."""

    retryable: ClassVar[bool] = False
    outcome: ClassVar[Outcome] = Outcome(state=CallState.FAILED, reason=EndedReason.PIPELINE_ERROR)


class WireError(MediaError):
    """The peer on a media socket does not speak the carrier's protocol, or went silent before it began."""

    outcome = Outcome(state=CallState.FAILED, reason=EndedReason.TELEPHONY_FAILED)


class PlanMissing(MediaError):
    """Nobody told this worker what to do with a call, and the bus does not know either."""

    retryable = True


class VendorUnusable(MediaError):
    """A vendor that the agent names is not installed here, or refuses its options."""

    outcome = Outcome(state=CallState.FAILED, reason=EndedReason.VENDOR_ERROR)


class SecretUnusable(MediaError):
    """A vendor's sealed key does not open with the keys of this worker."""

    outcome = Outcome(state=CallState.FAILED, reason=EndedReason.VENDOR_ERROR)
