"""An installation whose one worker has a core to itself, and an agent that is reached without a carrier's wire."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Final

import httpx
from msgspec import Struct

from turncall.capacity.cores import CORES, beside_the_worker, pin
from turncall.capacity.knee import MOST
from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget
from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall_devstack.stack import DevStack
from turncall_phone.accounts import Account
from turncall_phone.carrier import Carrier
from turncall_phone.signature import SIGNATURE_HEADER, sign
from turncall_proto.agent import AgentSpec

CALLER: Final = "+15550191000"
ANSWERED_WITHIN_S: Final = 20.0
LOADED_WITHIN_S: Final = 300.0
AGAIN_S: Final = 0.5
_LOADED: Final = "turncall_media_is_loaded 1.0"
_LAG: Final = re.compile(r"^turncall_media_loop_lag(_median|)_seconds (\S+)$", re.MULTILINE)
_PATH: Final = "/webhooks/twilio/voice/inbound"
_STREAM: Final = re.compile(r'<Stream [^>]*url="(ws://[^"]+)"')


class Rig(Struct, frozen=True, kw_only=True):
    """What runs. Calls to the account's first number reach the agent."""

    servers: DevStack
    carrier: Carrier
    installation: Installation
    account: Account
    client: httpx.AsyncClient

    async def place(self, call_sid: str) -> str | None:
        """Announces a call as the carrier does; the media socket that it is led to, or None when it has to hold."""
        url = self.installation.control_url + _PATH
        form = {
            "AccountSid": self.account.sid,
            "CallSid": call_sid,
            "CallStatus": "ringing",
            "From": CALLER,
            "To": self.account.numbers[0],
        }
        signed = {SIGNATURE_HEADER: sign(self.account.auth_token, url, tuple(form.items()))}
        document = (await self.client.post(url, data=form, headers=signed)).raise_for_status().text
        found = _STREAM.search(document)
        return unescape(found[1]) if found else None

    async def loaded(self) -> None:
        """Returns once the worker has loaded the code of every vendor, which takes its CPU and memory once.

        Raises `TimeoutError` after 5 minutes.
        """
        async with asyncio.timeout(LOADED_WITHIN_S):
            while _LOADED not in await self._metrics():  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(AGAIN_S)

    async def lag_ms(self) -> tuple[float, float]:
        """How late the worker's event loop has woken its sleepers in the last 5 s: median and 99th percentile."""
        told = dict(_LAG.findall(await self._metrics()))
        return 1000 * float(told["_median"]), 1000 * float(told[""])

    async def _metrics(self) -> str:
        (worker,) = self.installation.workers
        url = f"http://127.0.0.1:{self.installation.ports[worker]}/metrics"
        return (await self.client.get(url)).raise_for_status().text


@asynccontextmanager
async def rig(folder: Path, agent: AgentSpec, account: Account) -> AsyncIterator[Rig]:
    """Everything running in an empty folder: the worker alone on the first core, all else on the others."""
    with beside_the_worker():
        async with DevStack(folder / "stack") as servers, Carrier([account]) as carrier:
            known = CarrierAccount(base_url=carrier.base_url, account_sid=account.sid, auth_token=account.auth_token)
            extra = {"TURNCALL_MAX_CPU_SHARE": "64"}  # how much it bears is to be measured
            async with Installation(folder, servers.urls, servers.keys, known, slots=MOST, extra=extra) as installation:
                async with TurnCall(installation.control_url, platform_key=servers.keys.platform_key) as operator:
                    project = await operator.create_project("Capacity")
                    key = (await operator.create_first_key(project.id, "capacity", "admin")).secret
                async with TurnCall(installation.control_url, key=key) as api:
                    made = await api.create_agent("Agent", agent)
                    await api.publish_agent(made.id)
                    await api.bind_number(account.numbers[0], AgentTarget(agent_id=made.id))
                pin(installation.workers[0].pid, {min(CORES)})
                async with httpx.AsyncClient(timeout=ANSWERED_WITHIN_S, trust_env=False) as client:
                    yield Rig(
                        servers=servers, carrier=carrier, installation=installation, account=account, client=client
                    )
