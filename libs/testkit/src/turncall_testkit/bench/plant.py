"""What a bench measures: servers, one control process, a published agent behind a number, workers without audio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
from msgspec import Struct

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget
from turncall.demo.provision import receptionist
from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall_devstack.stack import DevStack
from turncall_phone.accounts import Account
from turncall_phone.carrier import Carrier as Emulator
from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId, WorkerId
from turncall_testkit.arrivals import Carrier, simulated

ACCOUNT: Final = Account(sid="AC" + "b" * 32, auth_token="a-token-of-the-benches", numbers=("+15550143000",))
CALLER: Final = "+15550190000"
WORKERS: Final = 3
SLOTS: Final = 1_000_000
CLIENT_WITHIN_S: Final = 30.0


class Plant(Struct, kw_only=True):
    """One installation. ``rung`` counts calls, so that each has an id of its own."""

    servers: DevStack
    installation: Installation
    api: TurnCall
    project_id: ProjectId
    workers: tuple[WorkerId, ...]
    client: aiohttp.ClientSession
    rung: int = 0

    @property
    def control_pid(self) -> int:
        """The process that serves HTTP and runs the projector is a child of this one."""
        return self.installation.controls[0].pid

    @property
    def pids(self) -> dict[str, int]:
        """The processes whose time a figure is made of, children included."""
        servers = {"Postgres": self.servers.postgres.pid, "NATS": self.servers.nats.pid}
        return {"control": self.control_pid, **{name: pid for name, pid in servers.items() if pid is not None}}

    async def ring(self) -> tuple[CallId, str]:
        """One new call as the carrier announces it: its id and the document that answers it."""
        self.rung += 1
        sid = f"CA{self.rung:032x}"
        carrier = Carrier(account=ACCOUNT, public_url=self.installation.control_url)
        document = await carrier.ring(
            self.client, self.installation.control_url, sid=sid, caller=CALLER, called=ACCOUNT.numbers[0]
        )
        return ids.inbound_call_id("twilio", ACCOUNT.sid, sid), document


@asynccontextmanager
async def plant(folder: Path) -> AsyncIterator[Plant]:
    """Everything running in an empty folder. Disks flush, as in production."""
    async with DevStack(folder / "stack") as servers, Emulator([ACCOUNT]) as emulator:
        account = CarrierAccount(base_url=emulator.base_url, account_sid=ACCOUNT.sid, auth_token=ACCOUNT.auth_token)
        media_urls = tuple(f"ws://simulated-{index}:1" for index in range(WORKERS))
        async with (
            Installation(folder, servers.urls, servers.keys, account, workers=0) as installation,
            simulated(servers.urls.nats_url, media_urls, slots=SLOTS, lags_ms=(1.0,) * WORKERS) as workers,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CLIENT_WITHIN_S)) as client,
        ):
            async with TurnCall(installation.control_url, platform_key=servers.keys.platform_key) as operator:
                project = await operator.create_project("Bench")
                key = (await operator.create_first_key(project.id, "bench", "admin")).secret
            async with TurnCall(installation.control_url, key=key) as api:
                agent = await api.create_agent("Receptionist", receptionist("http://127.0.0.1:9/tool"))
                await api.publish_agent(agent.id)
                await api.bind_number(ACCOUNT.numbers[0], AgentTarget(agent_id=agent.id))
                yield Plant(
                    servers=servers,
                    installation=installation,
                    api=api,
                    project_id=project.id,
                    workers=tuple(worker.id for worker in workers),
                    client=client,
                )
