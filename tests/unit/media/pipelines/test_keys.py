"""Whose servers get whose keys."""

from datetime import UTC, datetime

import pytest

from turncall_media.pipelines.vendors import key_for
from turncall_media.stages.kinds import Capabilities
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallStart
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId

HOSTED = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
ELSEWHERE = VendorRef(vendor="acme", options={"base_url": "https://mine.example"})


def plan(*own_vendors: str) -> CallStart:
    """A plan with a key of acme's, which is the installation's unless acme is named."""
    acme = VendorRef(vendor="acme")
    return CallStart(
        call_id=CallId(ids.mint(ids.CALL)),
        project_id=ProjectId(ids.mint(ids.PROJECT)),
        epoch=1,
        agent_id=AgentId(ids.mint(ids.AGENT)),
        version_id=VersionId(ids.mint(ids.VERSION)),
        agent=AgentSpec(pipeline=Cascade(stt=acme, llm=acme, tts=acme)),
        channel="phone",
        direction="inbound",
        from_number="+15550001111",
        to_number="+15550002222",
        provider="twilio",
        provider_call_id="CA1",
        planned_at=datetime.now(UTC),
        secrets={"acme": "sealed"},
        own_vendors=own_vendors,
    )


def opened(sealed: str) -> str:
    """Opens what was sealed."""
    return f"opened {sealed}"


@pytest.mark.parametrize("options", [{}, {"base_url": ""}, {"model": "m"}])
@pytest.mark.parametrize("own_vendors", [(), ("acme",)])
def test_the_vendors_own_server_gets_its_key(options: dict[str, str], own_vendors: tuple[str, ...]) -> None:
    """Options that name no server leave the key in place, whoever's it is."""
    assert key_for(VendorRef(vendor="acme", options=options), HOSTED, plan(*own_vendors), opened) == "opened sealed"


def test_a_server_named_by_the_agent_never_gets_the_installations() -> None:
    """Otherwise every developer could read the operator's key on a server of theirs."""
    assert key_for(ELSEWHERE, HOSTED, plan(), opened) is None
    assert key_for(ELSEWHERE, HOSTED, plan("other"), opened) is None


def test_a_server_named_by_the_agent_gets_the_projects_own() -> None:
    """So servers that speak a vendor's protocol work, each project paying with its own key."""
    assert key_for(ELSEWHERE, HOSTED, plan("acme"), opened) == "opened sealed"


def test_a_vendor_without_a_key_has_none() -> None:
    """Keyless vendors travel without secrets."""
    assert key_for(VendorRef(vendor="local"), Capabilities(needs_secret=False), plan(), opened) is None
