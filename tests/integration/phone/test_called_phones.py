"""Phones that REST calls reach or do not: machines and their detection, refused numbers, lost answers."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession, encode_basic_auth

from turncall_phone import Account, Answers, Call, Carrier, HangUp, Pause, Say
from turncall_phone.caller import AnyPhone, Declines, Machine, Refused
from turncall_phone.faults import RestFault
from turncall_phone.tones import tone

PERSON = "+15550188888"


async def create(carrier: Carrier, to: str, url: str, **more: str) -> tuple[int, dict[str, Any]]:
    """Asks for a call as a client does."""
    (account,) = carrier.accounts.values()
    path = f"{carrier.base_url}/2010-04-01/Accounts/{account.sid}/Calls.json"
    form = {"To": to, "From": account.numbers[0], "Url": url, **more}
    auth = encode_basic_auth(account.sid, account.auth_token)
    async with ClientSession() as session, session.post(path, data=form, headers={"Authorization": auth}) as answer:
        return answer.status, await answer.json()


async def placed(carrier: Carrier, phone: AnyPhone, url: str, **more: str) -> Call:
    """A call to somebody with this phone."""
    number = f"+1555019{len(list(carrier.calls)):04}"
    carrier.expect(number, phone)
    status, made = await create(carrier, number, url, **more)
    assert status == 201, made
    call = carrier.calls.find(made["sid"])
    assert call is not None
    return call


GREETING = Say(pcm=tone((220, 440), 3000, amplitude=4000).tobytes())
HELLO = Say(pcm=tone((220, 440), 600, amplitude=4000).tobytes())
SAYS = "<Response><Say>one two three four five</Say><Hangup/></Response>"


async def test_machines_are_told_from_people_before_the_document_is_fetched(carrier: Carrier, customer: Any) -> None:
    """Who answered stands in the request for the document, which comes once it is known, and in the last report."""
    phones: dict[str, tuple[AnyPhone, str]] = {
        "human": (Answers(script=(HELLO, Pause(length_s=9))), "Enable"),
        "machine_start": (Machine(greeting=GREETING), "Enable"),
        "machine_end_beep": (Machine(greeting=GREETING), "DetectMessageEnd"),
        "machine_end_silence": (Machine(greeting=GREETING, beep=None), "DetectMessageEnd"),
    }
    calls = {
        verdict: await placed(
            carrier,
            phone,
            customer.on(f"/{verdict}", SAYS),
            MachineDetection=how,
            StatusCallback=customer.url(f"/{verdict}/status"),
        )
        for verdict, (phone, how) in phones.items()
    }
    for verdict, call in calls.items():
        await call.settled(timeout_s=20)
        (asked,) = customer.requests(f"/{verdict}")
        assert asked["AnsweredBy"] == verdict
        assert 500 <= int(asked["MachineDetectionDuration"]) <= 6000
        (report,) = customer.requests(f"/{verdict}/status")
        assert report["AnsweredBy"] == verdict
    # What the machine recorded is what was said behind its beep, and nothing of its own greeting.
    assert len(calls["machine_end_beep"].recorded) > 0
    assert calls["machine_end_silence"].recorded == b""


async def test_a_call_goes_on_while_a_machine_is_looked_for(carrier: Carrier, customer: Any) -> None:
    """With AsyncAmd the document is fetched at the answer, and a callback tells who answered."""
    call = await placed(
        carrier,
        Machine(greeting=GREETING),
        customer.on("/at-once", "<Response><Pause length='5'/><Hangup/></Response>"),
        MachineDetection="Enable",
        AsyncAmd="true",
        AsyncAmdStatusCallback=customer.url("/amd"),
    )
    (asked,) = await customer.asked_for("/at-once")
    assert "AnsweredBy" not in dict(asked.params)
    (told,) = await customer.asked_for("/amd", timeout_s=8)
    assert (told["CallSid"], told["AnsweredBy"]) == (call.sid, "machine_start")
    call.hang_up()
    await call.settled(timeout_s=20)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"MachineDetection": "Maybe"}, 20001),
        ({"MachineDetection": "Enable", "MachineDetectionTimeout": "2"}, 20001),
        ({"MachineDetection": "Enable", "AsyncAmd": "true"}, 21262),
    ],
)
async def test_detection_is_asked_for_as_documented(
    carrier: Carrier, customer: Any, wrong: dict[str, str], code: int
) -> None:
    """Values out of range are refused, and asynchronous detection needs somebody to tell."""
    status, problem = await create(carrier, PERSON, customer.url("/voice"), **wrong)
    assert (status, problem["code"]) == (400, code)


@pytest.mark.parametrize(("code", "status"), [(21211, 400), (21215, 400), (21219, 400), (10004, 429)])
async def test_a_number_that_is_not_called(carrier: Carrier, customer: Any, code: Any, status: int) -> None:
    """REST refuses it with the vendor's code, and there is no call."""
    carrier.expect(PERSON, Refused(code=code))
    refused = await create(carrier, PERSON, customer.url("/voice"))
    assert (refused[0], refused[1]["code"]) == (status, code)
    assert list(carrier.calls) == []


async def test_a_declined_call_is_busy_with_a_reason(carrier: Carrier, customer: Any) -> None:
    """The person called turns the call away: the report says busy, and SIP's 603."""
    call = await placed(carrier, Declines(), customer.url("/voice"), StatusCallback=customer.url("/status"))
    await call.settled(timeout_s=20)
    (report,) = customer.requests("/status")
    assert (report["CallStatus"], report["SipResponseCode"]) == ("busy", "603")


async def test_a_lost_answer_does_not_undo_the_call(carrier: Carrier, customer: Any) -> None:
    """The connection is cut in place of an answer; whether the call was placed is the fault's choice."""
    carrier.expect(PERSON, Answers(script=(HangUp(),)))
    for is_done in (False, True):
        carrier.faults.add(RestFault(path="/Calls.json", is_done=is_done, is_cut=True))
        with pytest.raises(aiohttp.ClientError):
            await create(carrier, PERSON, customer.on("/voice", "<Response/>"))
        assert len(list(carrier.calls)) == is_done
    await asyncio.gather(*(call.settled(timeout_s=20) for call in carrier.calls))


async def test_a_suspended_account_may_do_nothing() -> None:
    """Whatever it asks is refused with 20005."""
    account = Account(sid="AC" + "6" * 32, auth_token="token", numbers=("+15550100002",), is_suspended=True)
    async with Carrier([account]) as carrier:
        status, problem = await create(carrier, PERSON, "http://127.0.0.1:9/voice")
    assert (status, problem["code"]) == (403, 20005)
