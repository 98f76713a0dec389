"""The carrier as others meet it: the switchboard behind its HTTP faces."""

import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack

from aiohttp import web

from turncall_phone.accounts import Account
from turncall_phone.caller import AnyPhone
from turncall_phone.clock import Clock
from turncall_phone.control_face import add_control_face
from turncall_phone.overrides import Overrides
from turncall_phone.rest.face import add_rest_face
from turncall_phone.speech import Speak
from turncall_phone.switchboard import Switchboard

# Room for minutes of PCM that a client lets a caller say.
MAX_BODY_BYTES = 64 << 20


class Carrier(Switchboard):
    """A Twilio in this process. Enter it to start its server (port 0 takes a free one); leave it to end and stop."""

    def __init__(
        self,
        accounts: Sequence[Account],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        speak: Speak | None = None,
        calls_per_s: float | None = None,
        is_strict: bool = True,
        default_phone: AnyPhone | None = None,
        webhook_limits: Overrides | None = None,
        handshake_timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            accounts,
            clock=clock,
            speak=speak,
            calls_per_s=calls_per_s,
            default_phone=default_phone,
            webhook_limits=webhook_limits,
            handshake_timeout_s=handshake_timeout_s,
            tls=tls,
        )
        self.is_strict = is_strict
        self._host, self._port = host, port

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._port

    @property
    def base_url(self) -> str:
        """What replaces `https://api.twilio.com`."""
        return f"http://{self._host}:{self._port}"

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the HTTP server with the REST face and the control face."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        add_rest_face(app, self, is_strict=self.is_strict)
        add_control_face(app, self)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, self._host, self._port).start()
        self._port = runner.addresses[0][1]
