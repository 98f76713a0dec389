"""How a conversation ends: whoever knows says so, and the first word stands."""

import asyncio
from typing import Final

from msgspec.structs import replace

from turncall_media.errors import WireError
from turncall_media.seams import Outcome, SocketClosed
from turncall_media.wire.stream import StreamStopped
from turncall_proto.call import CallStart, CallState, EndedReason

StreamEnd = StreamStopped | SocketClosed | WireError
"""How a stream ends: in good order, abruptly, or because the peer makes no sense."""

_FAILURES: Final = frozenset({EndedReason.PIPELINE_ERROR, EndedReason.VENDOR_ERROR, EndedReason.TELEPHONY_FAILED})
_GOES_ON: Final = Outcome(state=None, reason=None)


class Ending:
    """The end of one conversation, once it is known."""

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._hung_up: EndedReason = EndedReason.CUSTOMER_ENDED_CALL
        self._known = asyncio.Event()
        self.is_letting_go = False  # control is asked to connect the caller to a person

    @property
    def outcome(self) -> Outcome | None:
        """None while the conversation goes on."""
        return self._outcome

    def because(self, reason: EndedReason) -> None:
        """It ends for this reason, unless it has ended already."""
        state = CallState.FAILED if reason in _FAILURES else CallState.COMPLETED
        self._settle(Outcome(state=state, reason=reason))

    def reached_machine(self) -> None:
        """A machine is on the line: it is no customer who hangs up."""
        self._hung_up = EndedReason.VOICEMAIL

    def elsewhere(self) -> None:
        """It ends here and goes on with another worker, unless it has ended already."""
        self._settle(_GOES_ON)

    def with_a_person(self) -> None:
        """It ends here because the carrier connects the caller to a person, unless it has ended already."""
        self._settle(replace(_GOES_ON, is_transferred=True))

    def goes_on_with(self, plan: CallStart) -> None:
        """It ends here and goes on here, with another agent, unless it has ended already."""
        self._settle(replace(_GOES_ON, next_plan=plan))

    def stream_ended(self, end: StreamEnd) -> None:
        """The carrier's stream is over.

        In good order, the caller hung up. A socket that was lost without a word says nothing about the call: the
        carrier will either ask where to go on or tell control that the call is over.
        """
        match end:
            case StreamStopped() if self.is_letting_go:
                self.with_a_person()
            case StreamStopped():
                self.because(self._hung_up)
            case SocketClosed():
                self.elsewhere()
            case WireError():
                self._settle(end.outcome)

    async def wait(self) -> Outcome:
        """The outcome, when it is known."""
        await self._known.wait()
        assert self._outcome is not None
        return self._outcome

    def _settle(self, outcome: Outcome) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._known.set()
