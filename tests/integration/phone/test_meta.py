"""The emulated WhatsApp: what Meta asks of whoever sends, and how its webhooks come."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from turncall_phone.meta import App, BusinessPhone, Meta

PHONE = BusinessPhone(id="4400", number="15550120001", token="graph-token", templates=("table_ready",))
PERSON, SECRET = "15550177777", "app-secret"


@pytest.fixture
async def meta(customer) -> AsyncIterator[Meta]:
    """An app with one number, whose webhooks go to the customer."""
    async with Meta(App(secret=SECRET, webhook_url=customer.on("/hook", (200, ""))), [PHONE]) as running:
        yield running


async def sends(meta: Meta, body: dict[str, object], token: str = PHONE.token) -> tuple[int, dict]:
    """One request to the Graph API: its status and its answer."""
    url = f"{meta.base_url}/v23.0/{PHONE.id}/messages"
    about = {"messaging_product": "whatsapp", "to": PERSON, "biz_opaque_callback_data": "mine"}
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.post(url, json={**about, **body}, headers=headers) as answer:
        return answer.status, await answer.json()


def code_of(answer: tuple[int, dict]) -> tuple[int, int]:
    """Status and code of an error."""
    return answer[0], answer[1]["error"]["code"]


TEXT = {"type": "text", "text": {"body": "Good day"}}
TEMPLATE = {
    "type": "template",
    "template": {
        "name": "table_ready",
        "language": {"code": "en_US"},
        "components": [{"type": "body", "parameters": [{"type": "text", "text": "Ada"}]}],
    },
}


async def test_the_window_opens_when_a_person_writes(meta: Meta, customer) -> None:
    """A text is refused with 131047 before, a template is not; statuses bring back what the sender gave along."""
    assert code_of(await sends(meta, TEXT)) == (400, 131047)
    status, answer = await sends(meta, TEMPLATE)
    assert (status, answer["contacts"][0]["wa_id"]) == (200, PERSON)
    told = await customer.asked_for("/hook", times=2)
    assert len(told) == 2
    message_id = meta.write(PHONE, person=PERSON, text="Hello ✓")
    assert (await sends(meta, TEXT))[0] == 200
    assert [message.text for message in await meta.received(PERSON, 2, timeout_s=15)] == ["Ada", "Good day"]
    read = {"status": "read", "message_id": message_id, "typing_indicator": {"type": "text"}}
    assert await sends(meta, read) == (200, {"success": True})
    assert meta.marks == {message_id: True}
    values = [entry["changes"][0]["value"] for _, body in meta.posts for entry in body["entry"]]
    statuses = [one for value in values for one in value.get("statuses", [])]
    assert {one["biz_opaque_callback_data"] for one in statuses} == {"mine"}


async def test_refusals_are_metas(meta: Meta) -> None:
    """A wrong token, an unknown template, what is no message, and a person whom nothing reaches."""
    assert code_of(await sends(meta, TEXT, token="wrong")) == (401, 190)
    assert code_of(await sends(meta, {**TEMPLATE, "template": {"name": "x"}})) == (404, 132001)
    assert code_of(await sends(meta, {"type": "carousel"})) == (400, 131051)
    assert code_of(await sends(meta, {"type": "text", "text": {"body": "x" * 4097}})) == (400, 100)
    meta.fail(PERSON, 130429)
    assert code_of(await sends(meta, TEMPLATE)) == (429, 130429)
    meta.break_down(503)
    assert (await sends(meta, TEMPLATE))[0] == 503
    assert meta.inbox(PERSON) == ()


async def test_a_webhook_is_signed_and_comes_again_until_it_is_taken(meta: Meta, customer) -> None:
    """The signature covers the raw bytes; a refusal has the same body come again."""
    customer.on("/hook", (503, ""), (200, ""))
    meta.write(PHONE, person=PERSON, text="Grüezi")
    first, second = await customer.asked_for("/hook", times=2, timeout_s=15)
    async with asyncio.timeout(15):
        while [status for status, _ in meta.posts] != [503, 200]:  # noqa: ASYNC110 - another task's fact
            await asyncio.sleep(0.01)
    raw = json.dumps(meta.posts[0][1], ensure_ascii=False).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    assert first.headers["X-Hub-Signature-256"] == second.headers["X-Hub-Signature-256"] == signature


SOUND = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
OFFER = SOUND + "a=fingerprint:sha-256 00:11\r\n"


async def says(meta: Meta, action: str, call_id: str, sdp: str = "", kind: str = "answer") -> tuple[int, dict]:
    """One word of a business about a call."""
    body: dict[str, object] = {"messaging_product": "whatsapp", "action": action, "call_id": call_id}
    if sdp:
        body["session"] = {"sdp_type": kind, "sdp": sdp}
    url, headers = f"{meta.base_url}/v23.0/{PHONE.id}/calls", {"Authorization": f"Bearer {PHONE.token}"}
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def _posted(meta: Meta, count: int) -> None:
    async with asyncio.timeout(30):
        while len(meta.posts) < count:  # noqa: ASYNC110 - another task's fact
            await asyncio.sleep(0.01)


async def test_a_call_is_taken_with_one_description_of_sound(meta: Meta) -> None:
    """An answer needs its addresses and one fingerprint; the acceptance must repeat the one before; then the call is
    taken, lasts until one side ends it, and is nobody's any more."""
    call = meta.calls.ring(PHONE, person=PERSON, offer=OFFER)
    await _posted(meta, 1)
    (change,) = meta.posts[0][1]["entry"][0]["changes"]
    assert change["field"] == "calls"
    assert change["value"]["calls"][0]["session"] == {"sdp_type": "offer", "sdp": OFFER}
    for useless in (SOUND, OFFER + "a=fingerprint:sha-512 22\r\n", OFFER.replace("a=candidate", "a=x")):
        assert code_of(await says(meta, "pre_accept", call.id, useless)) == (400, 100)
    assert (await says(meta, "pre_accept", call.id, OFFER))[1]["success"] is True
    assert code_of(await says(meta, "accept", call.id, OFFER + "a=x\r\n")) == (400, 100)
    assert (await says(meta, "accept", call.id, OFFER))[0] == 200
    assert code_of(await says(meta, "reject", call.id)) == (400, 100), "it rings no more"
    meta.calls.hang_up(call)
    assert code_of(await says(meta, "terminate", call.id)) == (400, 100), "it is over"
    await _posted(meta, 2)
    said = meta.posts[1][1]["entry"][0]["changes"][0]["value"]["calls"][0]
    assert (said["event"], said["status"]) == ("terminate", "COMPLETED")
    assert {"start_time", "end_time", "duration"} <= said.keys()
    meta.calls.accept_within_s = 0.1
    unheard = meta.calls.ring(PHONE, person=PERSON, offer=OFFER)
    await unheard.reaches("over", timeout_s=30)
    assert "duration" not in meta.calls.ended(unheard)["value"]["calls"][0]
