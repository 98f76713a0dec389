"""Calls from browsers as control sees them: no carrier stands between the page and the call's worker."""

from typing import Final

from turncall_control.carriers.base import CarrierCall, Gone

PROVIDER: Final = "browser"


class BrowserLine:
    """The line of a browser's call, which is its worker's alone: where that is gone, nothing is left to end."""

    async def end_call(self, provider_call_id: str) -> None:
        """Raises `Gone`: control is asked only when no worker could be."""
        raise Gone("a browser's call has no line but its worker's")

    async def redirect_call(self, provider_call_id: str, url: str) -> None:
        """Nothing: the page notices by itself that its worker is gone, and asks to go on."""

    async def fetch_call(self, provider_call_id: str) -> CarrierCall:
        """A call that may go on: whether the page is there shows when it asks."""
        return CarrierCall(provider_call_id=provider_call_id, status="in-progress", is_inbound=True)
