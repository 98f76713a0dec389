"""Talking with an agent in writing, over both planes as processes: the words, the tool, and a worker that is killed."""

import asyncio

from turncall_proto.agent import AgentSpec
from turncall_testkit.house import House


async def test_the_receptionist_books_in_writing(house: House, agent: AgentSpec) -> None:
    """The demonstration's agent has the same conversation as on the phone, uses the same tool, and ends it itself."""
    made, _ = await house.answering(agent, name="writes")
    session = await house.api.create_session(made.id, "visitor-17")
    exchange = await house.api.write(session.id, "I would like to book an appointment")
    assert exchange.reply is not None
    assert "day" in exchange.reply.text
    streamed = [event async for event in house.api.write_streamed(session.id, "on tuesday")]
    assert [name for name, _ in streamed][-1] == "message"
    assert (
        "".join(data["text"] for name, data in streamed if name == "message.delta").strip() == streamed[-1][1]["text"]
    )
    booked = await house.api.write(session.id, "at ten o'clock")
    assert booked.reply is not None
    assert [(used.tool, used.is_ok) for used in booked.reply.tools] == [("book_appointment", True)]
    assert {used.vendor for used in booked.reply.used} == {"local"}
    messages = (await house.api.messages(session.id)).items
    assert [message.author for message in messages] == ["agent", *["contact", "agent"] * 3]
    await house.api.write(session.id, "goodbye")
    async with asyncio.timeout(5):
        while (await house.api.session(session.id)).state != "ended":  # noqa: ASYNC110 - it is another process's fact
            await asyncio.sleep(0.05)
