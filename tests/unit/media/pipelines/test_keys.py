"""Whose servers get the installation's keys."""

import pytest

from turncall_media.kinds import Capabilities
from turncall_media.pipelines.vendors import key_for
from turncall_proto.agent import VendorRef

HOSTED = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
SEALED = {"acme": "sealed"}


def opened(sealed: str) -> str:
    """Opens what was sealed."""
    return f"opened {sealed}"


@pytest.mark.parametrize("options", [{}, {"base_url": ""}, {"model": "m"}])
def test_the_vendors_own_server_gets_its_key(options: dict[str, str]) -> None:
    """Options that name no server leave the key in place."""
    assert key_for(VendorRef(vendor="acme", options=options), HOSTED, SEALED, opened) == "opened sealed"


def test_a_server_named_by_the_agent_never_gets_it() -> None:
    """Otherwise every developer could read the operator's key on a server of theirs."""
    ref = VendorRef(vendor="acme", options={"base_url": "https://mine.example"})
    assert key_for(ref, HOSTED, SEALED, opened) is None


def test_a_vendor_without_a_key_has_none() -> None:
    """Keyless vendors travel without secrets."""
    assert key_for(VendorRef(vendor="local"), Capabilities(needs_secret=False), SEALED, opened) is None
