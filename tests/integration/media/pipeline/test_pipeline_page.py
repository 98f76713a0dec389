"""What a page is told of its call, and what it may ask, in the messages of Pipecat's clients."""

import json
from collections.abc import Callable
from typing import Any

from turncall_proto.call import EndedReason

from .both import BOTH

GREETING = "Hello there. How may I help?"


class ScriptedPage:
    """A page whose messages are kept. ``told`` are what came, in order."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self._listener: Callable[[str], None] | None = None

    def listen(self, listener: Callable[[str], None]) -> None:
        self._listener = listener

    def tell(self, message: str) -> None:
        self.told.append(json.loads(message))

    def press(self, digit: str) -> None:
        raise AssertionError(f"nobody presses {digit} here")

    def send(self, kind: str, **data: Any) -> None:
        """Says something to the agent's side."""
        assert self._listener is not None
        self._listener(json.dumps({"label": "rtvi-ai", "type": kind, "id": kind, "data": data}))

    def all(self, *kinds: str) -> list[dict[str, Any]]:
        """What came of these kinds."""
        return [message for message in self.told if message["type"] in kinds]

    def texts(self, kind: str) -> list[str]:
        return [message["data"]["text"] for message in self.all(kind)]


@BOTH
def test_a_page_follows_what_the_agent_writes_says_and_hears(stage: Any) -> None:
    """The model's words as they are written, the sentences as they are spoken, the caller's when they are final."""
    stage.script.caller = ["When do you open?"]
    stage.script.replies = ["At nine. On Sunday at ten."]
    page = ScriptedPage()

    async def act(scene: Any) -> None:
        page.send("client-ready", version="2.1.0", about={"library": "a test"})
        await scene.carrier.until(lambda: len(scene.transcript()) == 1)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", "At nine. On Sunday at ten.") in scene.transcript())
        page.send("disconnect-bot")
        assert (await scene.outcome()).reason == EndedReason.CUSTOMER_ENDED_CALL

    stage.play(stage.an_agent(GREETING), act, page=page)
    (ready,) = page.all("bot-ready")
    assert (ready["id"], ready["data"]["version"]) == ("client-ready", "2.1.0")
    assert page.texts("user-llm-text") == page.texts("user-transcription")[-1:] == ["When do you open?"]
    written = [message["type"] for message in page.all("bot-llm-started", "bot-llm-text", "bot-llm-stopped")]
    assert written[0] == "bot-llm-started"
    assert written[-1] == "bot-llm-stopped"
    assert "".join(page.texts("bot-llm-text")).replace(" ", "").endswith("Atnine.OnSundayatten.")
    sentences = ["Hello there.", "How may I help?", "At nine.", "On Sunday at ten."]
    assert page.texts("bot-tts-text") == sentences
    outputs = [message["data"] for message in page.all("bot-output")]
    statuses = [(each["segment_id"], each["spoken_status"], each["text"]) for each in outputs]
    assert statuses == [
        (number, status, text) for number, text in enumerate(sentences, 1) for status in ("new", "completed")
    ]
    assert outputs[0]["spoken_progress"] == {"accumulated_text": "", "remaining_text": "Hello there."}
    assert outputs[1]["spoken_progress"] == {"accumulated_text": "Hello there.", "remaining_text": ""}
    heard = [message["type"] for message in page.all("bot-tts-started", "bot-tts-text", "bot-tts-stopped")]
    once = ["bot-tts-started", "bot-tts-text", "bot-tts-text", "bot-tts-stopped"]
    assert heard == once * 2


@BOTH
def test_what_is_written_on_a_page_is_answered_at_once(stage: Any) -> None:
    """The agent falls silent for it; its model knows how far it was heard. What is not to be answered waits."""
    stage.script.replies = ["We open at nine."]
    page = ScriptedPage()
    long = "We are open every day of the week. " * 8

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: bool(page.all("bot-tts-text")))
        page.send("send-text", content="I am Ada.", options={"run_immediately": False})
        page.send("send-text", content="When?", options={"audio_response": False})
        page.send("send-text", content="")
        page.send("send-text", content="When do you open?", options={})
        await scene.carrier.until(lambda: ("agent", "We open at nine.") in scene.transcript())
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(long), act, page=page)
    refused = page.all("error-response")
    assert [message["id"] for message in refused] == ["send-text", "send-text"]
    assert "audio_response" in refused[0]["data"]["error"]
    (context,) = stage.script.contexts
    written = [message["content"] for message in context if message["role"] == "user"]
    assert written == ["I am Ada.", "When do you open?"] == page.texts("user-llm-text")
    interrupted, answer = scene.transcript()
    assert interrupted[1] in long
    assert len(interrupted[1]) < len(long) / 2
    assert answer == ("agent", "We open at nine.")
    assert {"role": "assistant", "content": interrupted[1]} in context


def test_a_page_of_the_first_protocol_is_told_in_its_own_form(stage: Any) -> None:
    """It is named its own version, and each sentence comes once."""
    page = ScriptedPage()

    async def act(scene: Any) -> None:
        page.send("client-ready", version="1.4.0", about={"library": "a test"})
        await scene.carrier.until(lambda: len(scene.transcript()) == 1)
        scene.carrier.hang_up()
        await scene.outcome()

    stage.play(stage.an_agent(GREETING), act, page=page)
    assert [message["data"]["version"] for message in page.all("bot-ready")] == ["1.4.0"]
    outputs = [message["data"] for message in page.all("bot-output")]
    assert [output["text"] for output in outputs] == ["Hello there.", "How may I help?"]
    assert all(output["spoken"] and output["aggregated_by"] == "sentence" for output in outputs)
    assert not any("segment_id" in output for output in outputs)
