"""Credentials: kept, shown without their secrets, tried, used before the installation's, shredded."""

from collections.abc import AsyncIterator
from secrets import token_hex

import pytest
from twilio.request_validator import RequestValidator

from turncall_control.envelope import CannotDecrypt
from turncall_control.projects.signing import signing_secrets
from turncall_phone import Account, Carrier
from turncall_proto.ids import ProjectId
from turncall_testkit.vendors.openai import openai_fake

KEY = "sk-proj-a-vendor-key-of-this-test-wxyz"
OWN = Account(sid="AC" + "b" * 32, auth_token="an-own-token-of-this-test", numbers=("+15550200001", "+15550200002"))


def vendor_key(key=KEY, vendor="acme"):
    """A vendor's key as it is put."""
    return {"kind": "vendor", "vendor": vendor, "key": key}


def twilio(account=OWN, **changes):
    """An account as it is put."""
    return {"kind": "twilio", "account_sid": account.sid, "auth_token": account.auth_token, **changes}


def bucket(**changes):
    """A bucket as it is put."""
    keys = {"access_key": "an-access-key-of-this-test", "secret_key": "a-secret-key-of-this-test-wxyz"}
    return {"kind": "s3", "bucket": "own-recordings", **keys, **changes}


async def wallet(control, api):
    """What a call of the project would use."""
    return await control.plane.wallets.open(ProjectId(api.project_id))


async def test_key_goes_in_and_never_comes_out(control, tenant):
    """No answer of the API holds it; what is shown is which one it is; a second one takes the place of the first."""
    first = await tenant.done("PUT", "/v1/credentials", vendor_key())
    assert (first["kind"], first["name"], first["hint"], first["last_used_at"]) == ("vendor", "acme", "wxyz", None)
    second = await tenant.done("PUT", "/v1/credentials", vendor_key("short-key"))
    assert (second["id"], second["hint"], second["created_at"]) == (first["id"], "", first["created_at"])
    assert second["updated_at"] > first["updated_at"]
    assert (await wallet(control, tenant)).vendor_keys["acme"].reveal() == "short-key"
    for answer in (
        await tenant.ask("GET", "/v1/credentials"),
        await tenant.ask("GET", f"/v1/credentials/{first['id']}"),
    ):
        assert answer.json()
        assert KEY not in answer.text
        assert "short-key" not in answer.text
    (stored,) = await control.sql("select c::text from credentials c where id::text = %s", uuid_of(first))
    assert KEY not in str(stored)
    await tenant.done("DELETE", f"/v1/credentials/{first['id']}")
    assert (await wallet(control, tenant)).vendor_keys == {}


def uuid_of(view):
    """An id as Postgres writes it."""
    digits = view["id"].rpartition("_")[2]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@pytest.mark.parametrize(
    "body",
    [
        vendor_key(vendor="local"),
        vendor_key(vendor="nobody"),
        vendor_key("with a blank"),
        vendor_key("short"),
        vendor_key("copied-with-its-newline\n"),
        twilio(account_sid="AC" + "a" * 32 + "\n"),
        vendor_key("schlüssel-mit-umlaut"),
        twilio(account_sid="AC1"),
        twilio(auth_token=""),
        bucket(secret_key=""),
        bucket(bucket="Mine"),
        bucket(endpoint="ftp://mine.example"),
        {"kind": "whatsapp", "token": "a-token-of-meta"},
        vendor_key() | {"base_url": "https://mine.example"},
        {"kind": "server", "host": "crm.example.com", "headers": {}},
        {"kind": "server", "host": "crm.example.com:443", "headers": {"X-Api-Key": "long-enough"}},
        {"kind": "server", "host": "crm.example.com/path", "headers": {"X-Api-Key": "long-enough"}},
        {"kind": "server", "host": "0x7f.1", "headers": {"X-Api-Key": "long-enough"}},
        {"kind": "server", "host": "crm.example.com", "headers": {"Webhook-Id": "not-yours-to-set"}},
        {"kind": "server", "host": "crm.example.com", "headers": {"X-Api-Key": "two\r\nX-Lines: here"}},
    ],
)
async def test_what_could_not_be_used_is_refused(tenant, body):
    """Vendors without keys, unknown kinds and fields, and texts that fit into no header."""
    problem = await tenant.refused(422, "PUT", "/v1/credentials", body)
    assert KEY not in str(problem)


async def test_agent_is_published_once_its_vendor_has_a_key(control, tenant, a_config):
    """The project's own key is as good as the installation's, which has none here; another project's is not."""
    other = await control.tenant()
    await other.done("PUT", "/v1/credentials", vendor_key())
    config = a_config(llm={"vendor": "acme", "options": {"model": "small"}})
    agent = await tenant.done("POST", "/v1/agents", {"name": "Keyed", "config": config})
    assert (await tenant.done("POST", "/v1/agents/validate", {"config": config}))["missing_vendor_keys"] == ["acme"]
    problem = await tenant.refused(409, "POST", f"/v1/agents/{agent['id']}/publish")
    assert problem["type"].endswith("vendor-key-missing")
    await tenant.done("PUT", "/v1/credentials", vendor_key())
    assert (await tenant.done("POST", "/v1/agents/validate", {"config": config}))["missing_vendor_keys"] == []
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")


@pytest.fixture(scope="module")
async def own_carrier() -> AsyncIterator[Carrier]:
    """A carrier at which the installation and a project have accounts of their own."""
    installations = Account(sid="AC" + "c" * 32, auth_token="the-installations-token", numbers=("+15550200009",))
    async with Carrier([installations, OWN]) as running:
        yield running


@pytest.fixture(scope="module")
async def two_accounts(run, environ, own_carrier):
    """A control plane that reaches that carrier."""
    installations = own_carrier.accounts["AC" + "c" * 32]
    told = {
        "TURNCALL_TWILIO_BASE_URL": own_carrier.base_url,
        "TURNCALL_TWILIO_ACCOUNT_SID": installations.sid,
        "TURNCALL_TWILIO_AUTH_TOKEN": installations.auth_token,
        "TURNCALL_EGRESS_ALLOW": "127.0.0.0/8",
    }
    async with run(environ | told) as started:
        yield started


async def test_twilio_is_asked_whether_it_accepts_an_account(two_accounts):
    """A right token is accepted, a wrong one refused; the secondary one serves when the first was rotated away."""
    api = await two_accounts.tenant()
    for tokens, outcome in (
        ({}, "accepted"),
        ({"auth_token": "a-wrong-token"}, "refused"),
        ({"auth_token": "a-wrong-token", "secondary_auth_token": OWN.auth_token}, "accepted"),
    ):
        stored = await api.done("PUT", "/v1/credentials", twilio(**tokens))
        verdict = await api.done("POST", f"/v1/credentials/{stored['id']}/verify", {})
        assert verdict["outcome"] == outcome
        assert "token-of-this-test" not in str(verdict)
    await api.refused(422, "POST", f"/v1/credentials/{stored['id']}/verify", {"base_url": "https://mine.example"})


async def test_vendor_without_a_harmless_request_is_not_asked(tenant):
    """Nothing is claimed about a key that nobody was asked about."""
    stored = await tenant.done("PUT", "/v1/credentials", vendor_key())
    verdict = await tenant.done("POST", f"/v1/credentials/{stored['id']}/verify", {})
    assert verdict["outcome"] == "unverifiable"


async def test_openai_or_who_speaks_its_protocol_is_asked(run, environ):
    """The server's key is accepted, another refused, nobody there is unreachable, what is inside is walled off."""
    told = environ | {"TURNCALL_EGRESS_ALLOW": "127.0.0.0/8"}
    async with run(told, packaged=True) as control, openai_fake(key=KEY) as fake:
        api = await control.tenant()
        for key, base_url, outcome in (
            (KEY, fake.base_url, "accepted"),
            ("sk-another-key", fake.base_url, "refused"),
            (KEY, "http://127.0.0.1:9/v1", "unreachable"),
            (KEY, "http://169.254.169.254/v1", "unreachable"),
        ):
            stored = await api.done("PUT", "/v1/credentials", vendor_key(key, "openai"))
            verdict = await api.done("POST", f"/v1/credentials/{stored['id']}/verify", {"base_url": base_url})
            assert verdict["outcome"] == outcome, verdict


async def test_numbers_are_bound_in_the_projects_own_account(two_accounts, a_config):
    """Available numbers, binding and releasing go to the account of the project; it cannot be taken from under them."""
    api = await two_accounts.tenant()
    stored = await api.done("PUT", "/v1/credentials", twilio())
    agent = await api.done("POST", "/v1/agents", {"name": "Own", "config": a_config()})
    listed = (await api.done("GET", "/v1/numbers/available"))["items"]
    assert [number["e164"] for number in listed] == list(OWN.numbers)
    routing = {"kind": "agent", "agent_id": agent["id"]}
    bound = await api.done("POST", "/v1/numbers", {"number": OWN.numbers[0], "routing": routing})
    (account,) = await two_accounts.sql("select account from numbers where e164 = %s", OWN.numbers[0])
    assert account == (OWN.sid,)
    other = Account(sid="AC" + "d" * 32, auth_token="token-of-another-account")
    for method, path, body in (
        ("DELETE", f"/v1/credentials/{stored['id']}", None),
        ("PUT", "/v1/credentials", twilio(other)),
    ):
        problem = await api.refused(409, method, path, body)
        assert problem["type"].endswith("account-in-use")
    await api.done("PUT", "/v1/credentials", twilio(secondary_auth_token="the-next-token"))
    await api.done("DELETE", f"/v1/numbers/{bound['id']}")
    await api.done("DELETE", f"/v1/credentials/{stored['id']}")
    listed = (await api.done("GET", "/v1/numbers/available"))["items"]
    assert [number["e164"] for number in listed] == ["+15550200009"]


async def rings(control, token, account_sid, to, call):
    """Twilio's first webhook for a call, signed with a token."""
    path = "/webhooks/twilio/voice/inbound"
    form = {"CallSid": call, "AccountSid": account_sid, "From": "+15550001111", "To": to, "CallStatus": "ringing"}
    signature = RequestValidator(token).compute_signature(control.config.public_url + path, form)
    return await control.client.post(path, data=form, headers={"X-Twilio-Signature": signature})


async def test_a_token_opens_the_numbers_of_those_who_hold_it(two_accounts, a_config):
    """Either of an account's tokens lets its calls in; a token that another project made up for it reaches nobody."""
    owner, intruder = await two_accounts.tenant(), await two_accounts.tenant()
    await owner.done("PUT", "/v1/credentials", twilio(secondary_auth_token="the-next-token"))
    agent = await owner.done("POST", "/v1/agents", {"name": "Owned", "config": a_config()})
    await owner.done("POST", f"/v1/agents/{agent['id']}/publish")
    routing = {"kind": "agent", "agent_id": agent["id"]}
    bound = await owner.done("POST", "/v1/numbers", {"number": OWN.numbers[1], "routing": routing})
    await intruder.done("PUT", "/v1/credentials", twilio(auth_token="made-up-by-the-intruder"))

    async def calls():
        return await two_accounts.sql("select provider_call_id from calls where number_id::text = %s", uuid_of(bound))

    let_in = []
    for token in (OWN.auth_token, "the-next-token"):
        let_in.append(("CA" + token_hex(16),))
        assert (await rings(two_accounts, token, OWN.sid, OWN.numbers[1], *let_in[-1])).status_code == 200
    assert sorted(await calls()) == sorted(let_in)
    answer = await rings(two_accounts, "made-up-by-the-intruder", OWN.sid, OWN.numbers[1], "CA" + token_hex(16))
    assert "not in service" in answer.text
    repeat = await rings(two_accounts, "made-up-by-the-intruder", OWN.sid, OWN.numbers[1], *let_in[0])
    assert "not in service" in repeat.text
    for token, account_sid in (("a-token-of-nobody", OWN.sid), (OWN.auth_token, "AC" + "9" * 32), ("", "garbage")):
        forged = await rings(two_accounts, token, account_sid, OWN.numbers[1], "CA" + token_hex(16))
        assert forged.status_code == 403
    assert sorted(await calls()) == sorted(let_in)
    await two_accounts.sql("update calls set over_at = now(), settled_at = now() where over_at is null")


def server(host="crm.example.com", **headers):
    """Headers for a server as they are put."""
    return {"kind": "server", "host": host, "headers": headers or {"Authorization": "Bearer a-token-of-the-crm"}}


async def test_headers_of_a_server_go_in_and_never_come_out(control, tenant):
    """Shown by their host and their names; put again they are replaced; each host has its own."""
    first = await tenant.done(
        "PUT", "/v1/credentials", server(**{"X-Api-Key": "the-key-of-before", "X-Shop": "shop-0017"})
    )
    assert (first["kind"], first["name"], first["hint"]) == ("server", "crm.example.com", "X-Api-Key, X-Shop")
    second = await tenant.done("PUT", "/v1/credentials", server())
    await tenant.done("PUT", "/v1/credentials", server("crm.example.com:8443", Authorization="Bearer another-token"))
    assert (second["id"], second["hint"]) == (first["id"], "Authorization")
    held = (await wallet(control, tenant)).server_headers
    assert {host: secret.reveal() for host, secret in held.items()} == {
        "crm.example.com": '{"Authorization":"Bearer a-token-of-the-crm"}',
        "crm.example.com:8443": '{"Authorization":"Bearer another-token"}',
    }
    assert "a-token-of-the-crm" not in (await tenant.ask("GET", "/v1/credentials")).text
    verdict = await tenant.done("POST", f"/v1/credentials/{first['id']}/verify", {})
    assert verdict["outcome"] == "unverifiable"


async def test_signing_secret_rotates_with_an_overlap(control, tenant):
    """Old and new sign together, two at most; without overlap the old one signs no more."""
    path = f"/v1/projects/{tenant.project_id}/signing-secret"

    async def signing():
        return [secret.reveal() for secret in (await wallet(control, tenant)).signing_secrets]

    first = (await tenant.done("GET", path))["secret"]
    assert await signing() == [first]
    second = (await tenant.done("POST", f"{path}/rotate", {}))["secret"]
    assert await signing() == [second, first]
    assert (await tenant.done("GET", path))["secret"] == second
    third = (await tenant.done("POST", f"{path}/rotate", {"overlap_s": 60}))["secret"]
    assert await signing() == [third, second]
    fourth = (await tenant.done("POST", f"{path}/rotate", {"overlap_s": 0}))["secret"]
    assert await signing() == [fourth]
    assert len({first, second, third, fourth}) == 4


async def test_project_of_before_keeps_its_secret_until_it_rotates(control, tenant):
    """A project without a stored secret signs with the derived one, which then retires like any other."""
    await control.sql("delete from signing_secrets where project_id = %s", tenant.project_id.removeprefix("prj_"))
    path = f"/v1/projects/{tenant.project_id}/signing-secret"
    derived = (await tenant.done("GET", path))["secret"]
    (only,) = signing_secrets(control.config.key_pepper, tenant.project_id, await wallet(control, tenant))
    assert only.reveal() == derived
    second = (await tenant.done("POST", f"{path}/rotate", {}))["secret"]
    signing = (await wallet(control, tenant)).signing_secrets
    assert [secret.reveal() for secret in signing] == [second, derived]


async def test_shredded_project_has_no_credentials(control, tenant):
    """With its data keys gone, what is stored of the secrets is noise."""
    await tenant.done("PUT", "/v1/credentials", vendor_key())
    await control.plane.vault.shred(ProjectId(tenant.project_id))
    with pytest.raises(CannotDecrypt):
        await wallet(control, tenant)


async def test_use_is_written_down(control, tenant):
    """A credential that was used says when."""
    stored = await tenant.done("PUT", "/v1/credentials", vendor_key())
    control.plane.wallets.used(ProjectId(tenant.project_id), "vendor", ["acme"])
    await control.plane.wallets.stamp()
    assert (await tenant.done("GET", f"/v1/credentials/{stored['id']}"))["last_used_at"] is not None
