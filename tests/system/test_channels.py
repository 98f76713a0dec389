"""One conversation over the channels of a number, over both planes as processes and the emulated carrier."""

import json
import os
import signal

from aiohttp import web

from turncall.demo.provision import receptionist
from turncall_phone import WaitForHangUp
from turncall_proto.agent import AgentSpec
from turncall_testkit.house import House, conversation
from turncall_testkit.vendors.serving import Stalls, serving

PATIENCE_S = 60


async def test_a_worker_that_is_killed_in_the_middle_of_an_answer_by_sms(house: House) -> None:
    """kill -9 while the agent's tool is running: another worker does the turn again under the tool's key, and the
    contact gets one answer."""
    contact, worker, stalls = "+15550191111", house.installation.workers[0], Stalls()
    keys: list[str] = []

    async def book(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            os.kill(worker.pid, signal.SIGKILL)
            await stalls.stall()
        wanted = json.loads(await request.read())["arguments"]
        return web.json_response({"number": 1, "day": wanted["day"], "time": wanted["time"]})

    app = web.Application()
    app.router.add_post("/book", book)
    async with serving(app, stalls) as address:
        _, number = await house.answering(receptionist(f"http://{address}/book"), name="books by SMS")
        for count, body in enumerate(("I would like to book an appointment", "on tuesday"), start=1):
            house.carrier.texts.write(to=number.e164, from_=contact, body=body)
            await house.carrier.texts.received(contact, count, timeout_s=PATIENCE_S)
        house.carrier.texts.write(to=number.e164, from_=contact, body="at ten o'clock")
        assert await worker.ended(PATIENCE_S) == -signal.SIGKILL
        await house.installation.start_again(worker)
        arrived = await house.carrier.texts.received(contact, 3, timeout_s=PATIENCE_S)
        (session,) = (await house.api.sessions(contact=contact)).items
        messages = (await house.api.messages(session.id)).items
    assert len(set(keys)) == 1
    assert len(keys) == 2
    assert [message.author for message in messages] == ["contact", "agent"] * 3
    assert [text.body for text in arrived] == [message.text for message in messages if message.author == "agent"]
    assert [(used.tool, used.is_ok) for used in messages[-1].tools] == [("book_appointment", True)]


async def test_a_conversation_hops_from_phone_to_sms_to_chat(house: House, agent: AgentSpec) -> None:
    """The caller asks for an appointment on the phone, writes the day by SMS while speaking and hears the agent go on
    from it, names the hour by SMS afterwards, and asks about it in the chat: one session."""
    contact = "+15550191112"
    made, number = await house.answering(agent, name="hops")
    call = await house.dial(number, [*conversation("book")[:2], WaitForHangUp(timeout_s=PATIENCE_S)], caller=contact)
    record = await house.live(call)
    replies: list[str] = []
    async for fact in house.api.follow(record.id):
        if fact.type != "transcript.final" or fact.data["speaker"] != "agent" or fact.data["turn"] == 0:
            continue
        replies.append(fact.data["text"])
        if len(replies) == 1:
            house.carrier.texts.write(to=number.e164, from_=contact, body="on tuesday")
        else:
            call.hang_up()
    assert "time" in replies[1]
    assert house.carrier.texts.inbox(contact) == (), "who is on the phone is answered there"
    house.carrier.texts.write(to=number.e164, from_=contact, body="at ten o'clock")
    await house.carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    session = await house.api.create_session(made.id, contact, resume=True)
    exchange = await house.api.write(session.id, "thank you")
    assert exchange.reply is not None
    messages = (await house.api.messages(session.id)).items
    (booked,) = [message for message in messages if message.tools]
    assert [(used.tool, used.is_ok) for used in booked.tools] == [("book_appointment", True)]
    assert booked.tools[0].arguments["day"].lower() == "tuesday"
    assert (messages[0].text, messages[0].told_on) == ("on tuesday", record.id)
    spoken = [message for message in messages if message.call_id == record.id]
    assert {message.channel for message in spoken} == {"phone"}
    assert "appointment" in " ".join(message.text for message in spoken)
    assert [message.channel for message in messages[len(spoken) + 1 :]] == ["sms", "sms", "chat", "chat"]
    assert len((await house.api.sessions(contact=contact)).items) == 1
