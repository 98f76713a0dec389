"""Connection overrides that a webhook URL carries in its fragment: `#rc=2&rp=ct,5xx`."""

from urllib.parse import urldefrag

import msgspec

_POLICIES = frozenset({"4xx", "5xx", "ct", "rt", "all"})


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """How one webhook is tried: milliseconds, retries after the first attempt, and which failures are retried."""

    connect_ms: int = 5000
    read_ms: int = 15000
    total_ms: int = 15000
    retries: int = 1
    policies: frozenset[str] = frozenset({"ct"})

    def retries_on(self, failure: str) -> bool:
        """Whether a failure of kind `4xx`, `5xx`, `ct` or `rt` is tried again."""
        return "all" in self.policies or failure in self.policies


def split_overrides(url: str, defaults: Overrides) -> tuple[str, Overrides]:
    """The URL without its fragment, and `defaults` with what the fragment says, clamped to the documented ranges.

    Keys and values that mean nothing are left out, as the carrier does with an ordinary fragment. `sni` and `e`
    choose TLS names and egress edges, which do not exist on one machine.
    """
    bare, fragment = urldefrag(url)
    given = dict(part.partition("=")[::2] for part in fragment.split("&") if "=" in part)
    policies = frozenset(given.get("rp", "").split(",")) & _POLICIES
    return bare, Overrides(
        connect_ms=_clamped(given.get("ct"), 100, 10000, defaults.connect_ms),
        read_ms=_clamped(given.get("rt"), 100, 15000, defaults.read_ms),
        total_ms=_clamped(given.get("tt"), 100, 15000, defaults.total_ms),
        retries=_clamped(given.get("rc"), 0, 5, defaults.retries),
        policies=policies or defaults.policies,
    )


def _clamped(text: str | None, low: int, high: int, default: int) -> int:
    return max(low, min(high, int(text))) if text is not None and text.isdigit() else default
