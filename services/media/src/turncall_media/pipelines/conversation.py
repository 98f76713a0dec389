"""One call's conversation, from the opened wire to the outcome."""

from turncall_media.seams import Outcome
from turncall_proto.call import EndedReason


class Conversation:
    """Runs once. The wire must be open before `run`."""

    async def run(self) -> Outcome:
        """Speaks and listens until the call ends, then says how. Never raises but for cancellation; leaves no task."""
        raise NotImplementedError

    def end(self, reason: EndedReason) -> None:
        """Ends the conversation for this reason; speech under way is cut. The first reason given stands."""
        raise NotImplementedError
