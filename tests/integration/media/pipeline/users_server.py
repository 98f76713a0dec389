"""The user's own server, and a call in which the model uses it. In real time: there is a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from turncall_media.pipelines import build
from turncall_proto.agent import WebhookTool


class UsersServer:
    """Answers with each of ``answers`` in turn, and with the last one from then on; a number waits so many seconds."""

    def __init__(self, *answers: web.Response | float) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self._answers = list(answers)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((headers, await request.read()))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return web.json_response({"sky": "grey"})
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its URL."""
        app = web.Application()
        app.router.add_post("/weather", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/weather"
        finally:
            await runner.cleanup()


def a_webhook(url: str, **fields: Any) -> WebhookTool:
    """A tool that needs a city."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return WebhookTool(name="weather", description="The weather.", url=url, **{"parameters": parameters} | fields)


async def use_webhook(
    stage: Any,
    server: UsersServer,
    secret: str | None,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[[Any], Any] | None = None,
    text: str = "",
    **fields: Any,
) -> Any:
    """The scene of a call in which the model asks for the weather in Oslo, played ``until`` something is true of it, or
    until the model was asked again. ``text`` is what the model says beside that; ``fields`` are the tool's."""
    if secret is not None:
        monkeypatch.setattr(build, "_signing_secrets", lambda *_: (secret,))
    stage.script.caller = stage.script.caller or ["Weather?"]
    stage.script.replies = [stage.call("weather", {"city": "Oslo"}, text=text), *(stage.script.replies or ["Done."])]
    async with server.listening() as url:
        tool = a_webhook(url, **{"timeout_ms": 300} | fields)
        scene = stage.scene(stage.an_agent(tools=(tool,), silence_timeout_ms=100, vad_start_ms=60))
        try:
            await scene.begin()
            await scene.carrier.speak(0.2)
            await scene.carrier.until(lambda: until(scene) if until else len(stage.script.contexts) == 2, within_s=20)
            scene.carrier.hang_up()
            await scene.running
            return scene
        finally:
            scene.carrier.drop()
