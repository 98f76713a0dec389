"""A carrier in another process: its control face, its typed client, its terminal."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from turncall_phone import Carrier, HangUp, Pause, Say
from turncall_phone.caller import Busy
from turncall_phone.calls import CallPlan, CallStatus, Instruction
from turncall_phone.client import CarrierClient, CarrierRefused
from turncall_phone.control_shapes import NumberSetting
from turncall_phone.faults import AnswerFault
from turncall_phone.journal import Spoke, StatusChanged, StreamOpened
from turncall_phone.terminal import HELP, CallHandset, dial_interactively
from turncall_phone.wav import read_wav

NUMBER, PERSON = "+15550100001", "+15550177777"


@pytest.fixture
async def client(carrier: Carrier) -> AsyncIterator[CarrierClient]:
    """The typed client of a running carrier."""
    async with CarrierClient(carrier.base_url) as connected:
        yield connected


async def typed(*lines: str) -> AsyncIterator[str]:
    """What a person types, one line a moment."""
    for line in lines:
        await asyncio.sleep(0.15)
        yield line


async def test_a_call_is_dialed_followed_and_listened_to_from_outside(client: CarrierClient, customer) -> None:
    """Number, dial with a script, journal and both recordings work over HTTP."""
    voice_url = customer.on("/voice", customer.connect())
    await client.set_number(NumberSetting(phone_number="+15550100002", voice_url=voice_url))

    call = await client.dial(to="+15550100002", from_=PERSON, script=[Say(text="hello"), Pause(length_s=0.2), HangUp()])
    reports = [entry.fact async for entry in call.reports()]

    assert [f.status for f in reports if isinstance(f, StatusChanged)] == ["ringing", "in-progress", "completed"]
    assert any(isinstance(f, StreamOpened) for f in reports)
    view = await client.call(call.sid)
    assert (view.status, view.is_over, view.from_) == ("completed", True, PERSON)
    heard, said = read_wav(await client.heard_wav(call.sid)), read_wav(await client.said_wav(call.sid))
    assert len(heard) == len(said) == view.line_ms * 8
    assert heard.any()
    assert said.any()
    assert [c.sid for c in await client.calls()] == [call.sid]


async def test_a_person_says_presses_and_hangs_up_from_outside(
    carrier: Carrier, client: CarrierClient, customer
) -> None:
    """A live call takes words and keys by request, and refuses them when it is over."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect()))
    call = await client.dial(to=NUMBER, from_=PERSON)
    await carrier.journal.first(lambda e: isinstance(e.fact, StreamOpened), timeout_s=20)

    await client.press(call.sid, "42")
    await client.say(call.sid, Say(text="hello"))
    await client.hang_up(call.sid)
    await carrier.calls.find(call.sid).settled(timeout_s=20)

    assert [m["dtmf"]["digit"] for m in customer.messages if m["event"] == "dtmf"] == ["4", "2"]
    with pytest.raises(CarrierRefused) as refused:
        await client.press(call.sid, "1")
    assert refused.value.status == 409


async def test_faults_are_armed_listed_and_withdrawn_from_outside(carrier: Carrier, client: CarrierClient) -> None:
    """What the client arms is what the carrier holds."""
    fault = AnswerFault(url="/voice", effect="timeout", skip=2)
    fault_id = await client.add_fault(fault)

    assert [(f.id, f.fault) for f in await client.faults()] == [(fault_id, fault)]
    await client.withdraw_fault(fault_id)
    assert carrier.faults.armed() == ()
    with pytest.raises(CarrierRefused) as gone:
        await client.withdraw_fault(fault_id)
    assert gone.value.status == 404


async def test_phones_are_set_from_outside(carrier: Carrier, client: CarrierClient) -> None:
    """A number that was said to be busy is."""
    await client.set_phone(PERSON, Busy(after_s=0))
    (account,) = carrier.accounts.values()
    plan = CallPlan(instruction=Instruction(twiml="<Response/>"))

    assert await carrier.place(account, to=PERSON, from_=NUMBER, plan=plan).ended(timeout_s=20) is CallStatus.BUSY


async def test_what_makes_no_sense_is_refused_with_a_reason(client: CarrierClient) -> None:
    """An unknown call is 404; a number that nobody owns is 400 and says what to do."""
    with pytest.raises(CarrierRefused) as unknown:
        await client.call("CA" + "0" * 32)
    with pytest.raises(CarrierRefused, match="add it first") as unowned:
        await client.dial(to="+15559999999", from_=PERSON)

    assert (unknown.value.status, unowned.value.status) == (404, 400)


async def test_a_person_at_a_terminal_talks_presses_keys_and_sees_the_call(carrier: Carrier, customer) -> None:
    """Lines are spoken, keys pressed, the carrier's words and the agent's words printed; /hangup ends it."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect()))
    call = await carrier.dial(to=NUMBER, from_=PERSON)
    shown: list[str] = []

    async def words() -> AsyncIterator[str]:
        yield "How can I help?"

    lines = typed("hello there", "/press 5", "/press x", "/dance", "/hangup")
    async with asyncio.timeout(10):
        await dial_interactively(CallHandset(call, carrier.speak), lines, shown.append, words())

    assert shown[0] == HELP
    assert shown.count(HELP) == 2
    assert {"* in-progress", "* media connected", "agent: How can I help?", "* key 5"} <= set(shown)
    assert shown[-1] == "* completed"
    assert any(call.said)


async def test_the_end_of_the_lines_hangs_up_a_remote_call(carrier: Carrier, client: CarrierClient, customer) -> None:
    """A closed terminal does not leave a call behind, and the carrier's own words are printed."""
    document = "<Response><Say>Welcome</Say><Pause length='30'/></Response>"
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document))
    call = await client.dial(to=NUMBER, from_=PERSON)
    shown: list[str] = []

    await carrier.journal.first(lambda e: isinstance(e.fact, Spoke), timeout_s=20)
    async with asyncio.timeout(10):
        await dial_interactively(call, typed(), shown.append)

    assert "carrier: Welcome" in shown
    assert shown[-1] == "* completed"


async def test_the_carrier_runs_as_a_process_and_stops_on_a_signal(customer) -> None:
    """`python -m turncall_phone serve` says where it listens, serves, and exits cleanly on SIGTERM."""
    arguments = ["serve", "--port", "0", "--auth-token", "t", "--number", NUMBER, "--voice-url", customer.url("/voice")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turncall_phone", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            first = (await process.stdout.readline()).decode().split()
            async with CarrierClient(first[2]) as client:
                (number,) = await client.numbers()
            process.terminate()
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (number.phone_number, number.voice_url) == (NUMBER, customer.url("/voice"))
    assert code == 0
