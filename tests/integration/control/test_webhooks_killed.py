"""Nothing is lost with a sender: real processes, one of them killed while it sends, and a receiver that misbehaves."""

from datetime import UTC, datetime
from secrets import token_hex

from twilio.request_validator import RequestValidator

from turncall_devstack import create_database, drop_database
from turncall_proto import ids
from turncall_testkit.receiver import receiving
from turncall_testkit.served import killed, serving

CALLS = 6
STORY = ["call.initializing", "call.ringing", "call.answered", "call.ended"]
QUICK = {"TURNCALL_WEBHOOK_RETRIES_S": "1,1,1,2,2,2,2,2", "TURNCALL_WEBHOOK_TIMEOUT_S": "2"}


class Line:
    """The carrier's side of calls to one number: its signed requests to whoever serves."""

    def __init__(self, public_url, account, number):
        self._url = public_url
        self._account = account
        self._number = number

    async def says(self, client, what, sid, **fields):
        """One webhook about a call."""
        path = f"/webhooks/twilio/voice/{what}"
        form = {"CallSid": sid, "AccountSid": self._account.sid, "From": "+15550001111", "To": self._number, **fields}
        signature = RequestValidator(self._account.auth_token).compute_signature(self._url + path, form)
        answer = await client.post(path, data=form, headers={"X-Twilio-Signature": signature})
        assert answer.is_success, answer.text


async def an_agents_number(client, operator, carrier, a_config):
    """A project's key, and a number of it that an agent answers."""
    project = (await client.post("/v1/projects", json={"name": "Acme"}, headers=operator)).json()
    path = f"/v1/projects/{project['id']}/keys"
    made = (await client.post(path, json={"name": "first", "role": "admin"}, headers=operator)).json()
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    intent = {"name": "hours", "hears": ["when do you open"], "says": "We open at nine."}
    config = a_config(llm={"vendor": "local", "options": {"script": {"intents": [intent]}}})
    agent = (await client.post("/v1/agents", json={"name": "A", "config": config}, headers=bearer)).json()
    published = await client.post(f"/v1/agents/{agent['id']}/publish", headers=bearer)
    assert published.is_success, published.text
    (account,) = carrier.accounts.values()
    e164 = carrier.numbers.add(account.sid, "+15557770077", datetime.now(UTC)).phone_number
    bound = await client.post(
        "/v1/numbers", json={"number": e164, "routing": {"kind": "agent", "agent_id": agent["id"]}}, headers=bearer
    )
    assert bound.is_success, bound.text
    return bearer, account, e164


async def test_every_event_arrives_in_order_across_a_killed_sender(
    stack, migrate, environ, carrier, a_config, comes_true
):
    """Each event of each call arrives, under one id, in the order of the call.

    The receiver fails, redirects, cuts the line, hangs, answers 410 and comes back; the sender is killed as it waits.
    """
    name = f"killed_{token_hex(6)}"
    urls = await create_database(stack.urls.database, name, await stack.template(migrate))
    own = environ | QUICK | {"TURNCALL_DATABASE_API_URL": urls.api, "TURNCALL_DATABASE_SYSTEM_URL": urls.system}
    operator = {"X-Platform-Key": own["TURNCALL_PLATFORM_KEY"]}
    sids = ["CA" + token_hex(16) for _ in range(CALLS)]
    try:
        async with receiving() as receiver:
            async with serving(own) as (process, client):
                bearer, account, number = await an_agents_number(client, operator, carrier, a_config)
                made = (await client.post("/v1/webhooks", json={"url": receiver.url}, headers=bearer)).json()
                receiver.secrets.append(made["secret"])
                webhook = made["webhook"]
                line = Line(own["TURNCALL_PUBLIC_URL"], account, number)
                receiver.deeds.extend([500, "redirect", "drop", 503, "hang"])
                receiver.deed = "hang"
                for sid in sids:
                    await line.says(client, "inbound", sid, CallStatus="ringing")
                await comes_true(lambda: sum(request.deed == "hang" for request in receiver.received) >= 3)
                killed(process)
                await process.wait()
            receiver.deeds.extend([204, 204, 204, 410])
            receiver.deed = 204
            async with serving(own) as (_, client):
                path = f"/v1/webhooks/{webhook['id']}"

                async def is_gone():
                    return (await client.get(path, headers=bearer)).json()["disabled_reason"] == "gone"

                await comes_true(is_gone, 30)
                for sid in sids:
                    await line.says(client, "status", sid, CallStatus="completed", CallDuration="2")
                await comes_true(lambda: all_failed(client, bearer), 30)
                enabled = await client.patch(path, json={"is_enabled": True}, headers=bearer)
                assert enabled.is_success
                again = await client.post(f"{path}/redeliver", json={"since": webhook["created_at"]}, headers=bearer)
                assert again.json()["count"] > 0
                calls = [ids.inbound_call_id("twilio", account.sid, sid) for sid in sids]

                def all_arrived():
                    return all(len(receiver.first_taken(call_id)) == len(STORY) for call_id in calls)

                await comes_true(all_arrived, 30)
        for call_id in calls:
            told = receiver.first_taken(call_id)
            assert [request.type for request in told] == STORY
            numbers = [request.data["call_seq"] for request in told]
            assert numbers == sorted(numbers)
        named = {(request.data["call_id"], request.data["call_seq"], request.id) for request in receiver.received}
        assert len(named) == CALLS * len(STORY), "an event has one id, whoever sends it"
    finally:
        await drop_database(stack.urls.database, name)


async def all_failed(client, bearer):
    """Whether nothing is left to be sent and every call's last word is in the log."""
    query = {"limit": 200}
    items = (await client.get("/v1/webhook-deliveries", params=query, headers=bearer)).json()["items"]
    ended = [entry for entry in items if entry["type"] == "call.ended"]
    return len(ended) == CALLS and not [entry for entry in items if entry["status"] == "pending"]
