"""What can go wrong with one call: each class knows whether trying again may help and how the call ends."""

from typing import ClassVar

from turncall_media.seams import Outcome
from turncall_proto.call import CallState, EndedReason


class MediaError(Exception):
    """A call cannot be served. ``retryable``: another worker or a later moment may do. ``outcome``: how it ends.

    ``close_code`` is what the media socket is closed with when the call never began (RFC 6455, section 7.4).
    """

    retryable: ClassVar[bool] = False
    close_code: ClassVar[int] = 1011
    outcome: ClassVar[Outcome] = Outcome(state=CallState.FAILED, reason=EndedReason.PIPELINE_ERROR)


class WireError(MediaError):
    """The peer on a media socket does not speak the carrier's protocol, or went silent before it began."""

    close_code = 1002
    outcome = Outcome(state=CallState.FAILED, reason=EndedReason.TELEPHONY_FAILED)


class NeverConnected(WireError):
    """No sound could flow between a browser and this worker: no network path, or nobody at the other end any more."""


class PlanMissing(MediaError):
    """Nobody told this worker what to do with a call, and the bus does not know either."""

    retryable = True


class NotOurs(MediaError):
    """Another socket or another worker serves this epoch: this one must neither speak nor write history."""

    close_code = 1008
    outcome = Outcome(state=None, reason=None)


class VendorUnusable(MediaError):
    """A vendor that the agent names is not installed here, or refuses its options."""

    outcome = Outcome(state=CallState.FAILED, reason=EndedReason.VENDOR_ERROR)


class SecretUnusable(MediaError):
    """A vendor's sealed key does not open with the keys of this worker."""

    outcome = Outcome(state=CallState.FAILED, reason=EndedReason.VENDOR_ERROR)
