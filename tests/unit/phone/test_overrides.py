"""Connection overrides in a URL's fragment."""

import pytest

from turncall_phone.overrides import Overrides, split_overrides

DEFAULTS = Overrides()


@pytest.mark.parametrize(
    ("fragment", "overrides"),
    [
        ("", DEFAULTS),
        ("#section-2", DEFAULTS),
        ("#rc=2&rp=ct,rt,5xx", Overrides(retries=2, policies=frozenset({"ct", "rt", "5xx"}))),
        ("#ct=50&rt=99999&tt=2000", Overrides(connect_ms=100, read_ms=15000, total_ms=2000)),
        ("#rc=9", Overrides(retries=5)),
        ("#rc=many&rp=sometimes&e=dublin&sni=n", DEFAULTS),
    ],
)
def test_the_fragment_is_read_within_its_ranges_and_never_sent(fragment: str, overrides: Overrides) -> None:
    """Known keys are clamped, unknown ones mean nothing, and the URL comes back without its fragment."""
    url = "https://turncall.example/status/9f2?a=1"

    assert split_overrides(url + fragment, DEFAULTS) == (url, overrides)


def test_policies_say_which_failures_are_tried_again() -> None:
    """By default only failed connections; `all` means every kind."""
    assert DEFAULTS.retries_on("ct")
    assert not DEFAULTS.retries_on("5xx")
    assert Overrides(policies=frozenset({"all"})).retries_on("4xx")
