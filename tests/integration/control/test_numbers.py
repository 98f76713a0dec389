"""Numbers: bound to an agent here and pointed at us at the carrier, over an emulated Twilio account."""

import asyncio
from datetime import UTC, datetime
from itertools import count

import pytest

from turncall_phone.faults import RestFault

_fresh = count(1000)
OURS = "https://voice.example.com/webhooks/twilio/voice"


@pytest.fixture
def owned(carrier):
    """A number that the carrier's account owns and nobody has bound."""
    (account,) = carrier.accounts.values()
    return carrier.numbers.add(account.sid, f"+1555{next(_fresh):07}", datetime.now(UTC))


@pytest.fixture
async def agent_id(tenant, a_config):
    """An agent of the tenant."""
    return (await tenant.done("POST", "/v1/agents", {"name": "Reception", "config": a_config()}))["id"]


def at_carrier(carrier, number):
    """What the carrier now holds of a number."""
    return carrier.numbers.by_sid(number.account_sid, number.sid)


@pytest.mark.parametrize("by", ["phone_number", "sid"])
async def test_bound_number_sends_its_calls_here(tenant, carrier, owned, agent_id, by):
    """Binding by E.164 or by SID sets all three addresses at the carrier and shows that it has."""
    bound = await tenant.done(
        "POST", "/v1/numbers", {"number": getattr(owned, by), "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    assert (bound["e164"], bound["carrier_sid"], bound["routing"]["agent_id"]) == (
        owned.phone_number,
        owned.sid,
        agent_id,
    )
    assert bound["configured_at"] is not None
    record = at_carrier(carrier, owned)
    assert (record.voice_url, record.voice_method) == (f"{OURS}/inbound", "POST")
    assert record.voice_fallback_url == f"{OURS}/fallback"
    assert record.status_callback == f"{OURS}/status#rc=3&rp=ct,rt,5xx", "a callback that we fail to take is repeated"
    assert await tenant.done("GET", f"/v1/numbers/{bound['id']}") == bound
    assert (await tenant.done("GET", f"/v1/numbers?agent_id={agent_id}"))["items"] == [bound]


async def test_limit_of_calls_is_given_changed_and_taken_away(tenant, owned, agent_id):
    """A number is bound with a limit or without one; a change of something else leaves it, null takes it away."""
    body = {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}, "max_concurrent_calls": 2}
    bound = await tenant.done("POST", "/v1/numbers", body)
    assert bound["max_concurrent_calls"] == 2
    path = f"/v1/numbers/{bound['id']}"
    assert (await tenant.done("PATCH", path, {"max_concurrent_calls": 7}))["max_concurrent_calls"] == 7
    assert (await tenant.done("PATCH", path, {"busy": {"kind": "hold"}}))["max_concurrent_calls"] == 7
    problem = await tenant.refused(422, "PATCH", path, {"max_concurrent_calls": -1})
    assert [fault["field"] for fault in problem["errors"]] == ["max_concurrent_calls"]
    assert (await tenant.done("PATCH", path, {"max_concurrent_calls": None}))["max_concurrent_calls"] is None
    assert (await tenant.done("GET", path))["max_concurrent_calls"] is None


async def test_unbound_number_is_cleared_and_free_again(tenant, carrier, owned, agent_id):
    """Unbinding clears the addresses and forgets the number, which can then be bound again."""
    body = {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    bound = await tenant.done("POST", "/v1/numbers", body)
    await tenant.done("DELETE", f"/v1/numbers/{bound['id']}")
    record = at_carrier(carrier, owned)
    assert (record.voice_url, record.voice_fallback_url, record.status_callback) == ("", "", "")
    await tenant.refused(404, "GET", f"/v1/numbers/{bound['id']}")
    await tenant.done("POST", "/v1/numbers", body)


async def test_bound_number_is_refused_without_naming_the_owner(control, tenant, owned, agent_id, a_config):
    """The second bind is the same conflict in this project and in another one, and leaks nothing of the first."""
    await tenant.done("POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}})
    other = await control.tenant()
    foreign = (await other.done("POST", "/v1/agents", {"name": "X", "config": a_config()}))["id"]
    mine = await tenant.refused(
        409, "POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    theirs = await other.refused(
        409, "POST", "/v1/numbers", {"number": owned.phone_number, "routing": {"kind": "agent", "agent_id": foreign}}
    )
    assert mine | {"request_id": ""} == theirs | {"request_id": ""}
    assert theirs["type"] == "urn:turncall:problem:number-taken"
    assert tenant.project_id not in str(theirs)
    listed = (await other.done("GET", "/v1/numbers/available"))["items"]
    assert [number["is_bound"] for number in listed if number["carrier_sid"] == owned.sid] == [False]


async def test_concurrent_binds_make_one(tenant, owned, agent_id):
    """Of several binds at once one succeeds and the others are conflicts; the carrier stays configured."""
    body = {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    answers = await asyncio.gather(*(tenant.ask("POST", "/v1/numbers", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    listed = (await tenant.done("GET", "/v1/numbers"))["items"]
    assert [number["configured_at"] is not None for number in listed] == [True]


async def test_another_agent_answers_without_asking_the_carrier(tenant, carrier, owned, agent_id, a_config):
    """Pointing a number elsewhere works while the carrier's REST is down."""
    bound = await tenant.done(
        "POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    other = (await tenant.done("POST", "/v1/agents", {"name": "Night", "config": a_config()}))["id"]
    carrier.faults.add(RestFault(path=owned.sid, status_code=503, times=100))
    try:
        moved = await tenant.done(
            "PATCH", f"/v1/numbers/{bound['id']}", {"routing": {"kind": "agent", "agent_id": other}}
        )
    finally:
        carrier.faults.clear()
    assert moved == bound | {"routing": {"kind": "agent", "agent_id": other}}


@pytest.mark.parametrize(
    ("carriers_status", "status"), [(500, 503), (503, 503), (429, 503), (400, 502), (401, 409), (404, 422)]
)
async def test_failed_bind_leaves_the_number_free(tenant, carrier, owned, agent_id, carriers_status, status):
    """When the carrier does not configure the number nothing is bound, and the next try succeeds."""
    carrier.faults.add(RestFault(path=f"/IncomingPhoneNumbers/{owned.sid}", status_code=carriers_status))
    body = {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    response = await tenant.ask("POST", "/v1/numbers", body)
    assert response.status_code == status, response.text
    assert ("retry-after" in response.headers) == (status == 503)
    assert (await tenant.done("GET", "/v1/numbers"))["items"] == []
    await tenant.done("POST", "/v1/numbers", body)


async def test_failed_unbind_keeps_the_number(tenant, carrier, owned, agent_id):
    """While the carrier refuses, the number stays bound; afterwards it goes."""
    bound = await tenant.done(
        "POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    carrier.faults.add(RestFault(path=owned.sid, status_code=500))
    await tenant.refused(503, "DELETE", f"/v1/numbers/{bound['id']}")
    await tenant.done("GET", f"/v1/numbers/{bound['id']}")
    await tenant.done("DELETE", f"/v1/numbers/{bound['id']}")


async def test_configure_mends_what_somebody_changed(tenant, carrier, owned, agent_id):
    """After its addresses were changed at the carrier, one request points the number here again."""
    bound = await tenant.done(
        "POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    carrier.numbers.replace(owned)
    assert at_carrier(carrier, owned).voice_url == ""
    mended = await tenant.done("POST", f"/v1/numbers/{bound['id']}/configure")
    assert at_carrier(carrier, owned).voice_url == f"{OURS}/inbound"
    assert mended["configured_at"] > bound["configured_at"]


async def test_available_numbers_tell_which_are_bound(tenant, owned, agent_id):
    """The account's numbers are listed with their abilities and whether this project holds them."""
    await tenant.done("POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}})
    listed = {item["carrier_sid"]: item for item in (await tenant.done("GET", "/v1/numbers/available"))["items"]}
    assert listed[owned.sid]["is_bound"] is True
    assert listed[owned.sid]["can_voice"] is True
    assert sum(item["is_bound"] for item in listed.values()) == 1


@pytest.mark.parametrize(
    ("number", "field"),
    [("+15559999999", "number"), ("PN" + "0" * 32, "number"), ("15550100001", "number"), ("+0123", "number")],
)
async def test_number_that_the_account_does_not_own_is_refused(tenant, agent_id, number, field):
    """Unknown and malformed numbers are a 422 that names the field."""
    problem = await tenant.refused(
        422, "POST", "/v1/numbers", {"number": number, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    assert [fault["field"] for fault in problem["errors"]] == [field]


async def test_agent_of_another_project_is_refused_like_a_missing_one(control, tenant, owned, agent_id, a_config):
    """Neither binding nor pointing accepts a foreign agent, and both say of it what they say of one that is not."""
    other = await control.tenant()
    foreign = (await other.done("POST", "/v1/agents", {"name": "X", "config": a_config()}))["id"]
    missing = "agt_" + "0" * 32
    bound = await tenant.done(
        "POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    for method, path, body in (
        ("POST", "/v1/numbers", {"number": owned.sid}),
        ("PATCH", f"/v1/numbers/{bound['id']}", {}),
    ):
        problems = [
            await tenant.refused(422, method, path, body | {"routing": {"kind": "agent", "agent_id": agent}})
            for agent in (foreign, missing)
        ]
        assert problems[0]["errors"] == problems[1]["errors"] != []
        assert problems[0]["errors"][0]["field"] == "routing.agent_id"


async def test_installation_without_a_carrier_says_so(control, run, environ, tenant, agent_id):
    """Without an account the routes that need one are unavailable, and the others work."""
    bare = environ | {"TURNCALL_TWILIO_ACCOUNT_SID": "", "TURNCALL_TWILIO_AUTH_TOKEN": ""}
    async with run(bare) as without:
        body = {"number": "+15550100001", "routing": {"kind": "agent", "agent_id": agent_id}}
        problem = await without.anybody.refused(503, "POST", "/v1/numbers", body, headers=tenant.headers)
        assert "twilio" in problem["detail"]
        await without.anybody.done("GET", "/v1/numbers", headers=tenant.headers)


def faults_of(checked):
    """What a check found wrong, by name."""
    return {finding["check"]: finding for finding in checked["findings"] if not finding["is_ok"]}


async def test_check_finds_what_would_keep_a_number_from_working(tenant, carrier, owned, agent_id):
    """Addresses changed at the carrier and an unpublished agent are found and told, and gone once mended."""
    bound = await tenant.done(
        "POST", "/v1/numbers", {"number": owned.sid, "routing": {"kind": "agent", "agent_id": agent_id}}
    )
    path = f"/v1/numbers/{bound['id']}"
    unpublished = faults_of(await tenant.done("GET", f"{path}/check"))
    assert list(unpublished) == ["agent"]
    assert unpublished["agent"]["found"] == "routing.agent_id: no version is published"
    await tenant.done("POST", f"/v1/agents/{agent_id}/publish")
    well = await tenant.done("GET", f"{path}/check")
    assert well["is_ok"], well
    assert {finding["check"] for finding in well["findings"]} >= {"carrier_account", "voice_url", "status_url"}

    carrier.configure(owned.phone_number, voice_url="https://elsewhere.example.com/voice")
    moved = faults_of(await tenant.done("GET", f"{path}/check"))
    assert set(moved) == {"voice_url", "voice_fallback_url", "status_url", "sms_url"}, "the others were cleared"
    assert moved["voice_url"]["found"] == "https://elsewhere.example.com/voice"
    assert moved["voice_url"]["expected"] == f"{OURS}/inbound"
    await tenant.done("POST", f"{path}/configure")
    assert (await tenant.done("GET", f"{path}/check"))["is_ok"]


async def test_credentials_that_the_carrier_refuses_are_a_conflict(tenant, agent_id):
    """A project's own account with a wrong token is told as such, by lists and by single requests, and is no 5xx."""
    own = {"kind": "twilio", "account_sid": "AC" + "e" * 32, "auth_token": "f" * 32}
    await tenant.done("PUT", "/v1/credentials", own)
    listed = await tenant.refused(409, "GET", "/v1/numbers/available")
    body = {"number": "PN" + "0" * 32, "routing": {"kind": "agent", "agent_id": agent_id}}
    single = await tenant.refused(409, "POST", "/v1/numbers", body)
    assert listed["type"] == single["type"] == "urn:turncall:problem:carrier-credentials-refused"
