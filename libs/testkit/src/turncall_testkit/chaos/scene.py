"""An installation to be hurt: servers, both planes as processes, the carrier in this one, and everything noted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from turncall.client import TurnCall
from turncall.client.shapes import NumberView
from turncall.demo.desk import Desk, desk_at_work
from turncall.demo.provision import receptionist
from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall.process import Process
from turncall_devstack.stack import DevStack
from turncall_phone.accounts import Account
from turncall_phone.carrier import Carrier
from turncall_testkit.chaos.testimony import Testimony, testimony

ACCOUNT: Final = Account(sid="AC" + "c" * 32, auth_token="a-token-of-the-chaos-runs", numbers=("+15550142000",))
CALLER_PREFIX: Final = "+1555017"
SLOTS: Final = 40


class Scene(Struct, kw_only=True):
    """What a scenario may dial, kill, stop and read. ``dialled`` counts calls, so that each caller has a number."""

    folder: Path
    installation: Installation
    servers: DevStack
    carrier: Carrier
    api: TurnCall
    desk: Desk
    number: NumberView
    testimony: Testimony
    secrets: tuple[str, ...]
    dialled: int = 0

    @property
    def workers(self) -> list[Process]:
        """The workers that run."""
        return [worker for worker in self.installation.workers if worker.is_running]

    @property
    def logs(self) -> tuple[Path, ...]:
        """Every log of the installation and of its servers."""
        return tuple(sorted(self.folder.rglob("*.log")))

    def next_caller(self) -> str:
        """A phone number that nobody has called from."""
        self.dialled += 1
        return f"{CALLER_PREFIX}{self.dialled:04}"


@asynccontextmanager
async def scene(folder: Path, *, workers: int) -> AsyncIterator[Scene]:
    """Everything running, in an empty folder: one control replica, ``workers`` workers, the demonstration's agent."""
    async with (
        DevStack(folder / "stack", durable=False) as servers,
        Carrier([ACCOUNT]) as carrier,
        desk_at_work() as (desk, tool_url),
    ):
        account = CarrierAccount(base_url=carrier.base_url, account_sid=ACCOUNT.sid, auth_token=ACCOUNT.auth_token)
        async with Installation(
            folder, servers.urls, servers.keys, account, slots=SLOTS, extra={"TURNCALL_HANDOVER_AFTER_S": "1"}
        ) as installation:
            await asyncio.gather(*(installation.add_worker() for _ in range(workers - 1)))
            async with TurnCall(installation.control_url, platform_key=servers.keys.platform_key) as operator:
                project = await operator.create_project("Chaos")
                key = (await operator.create_first_key(project.id, "chaos", "admin")).secret
            async with (
                TurnCall(installation.control_url, key=key) as api,
                testimony(folder / "spool", folder / "testimony") as witness,
            ):
                signing = (await api.signing_secret(project.id)).secret
                desk.trust(signing)
                agent = await api.create_agent("Receptionist", receptionist(tool_url))
                await api.publish_agent(agent.id)
                yield Scene(
                    folder=folder,
                    installation=installation,
                    servers=servers,
                    carrier=carrier,
                    api=api,
                    desk=desk,
                    number=await api.bind_number(ACCOUNT.numbers[0], agent.id),
                    testimony=witness,
                    secrets=(key, signing, ACCOUNT.auth_token, *_secret_keys(servers)),
                )


def _secret_keys(servers: DevStack) -> list[str]:
    keys = servers.keys
    return [
        keys.migrate_password,
        keys.api_password,
        keys.system_password,
        keys.s3_secret_key,
        keys.platform_key,
        keys.key_pepper,
        keys.stream_secret,
        keys.seal_private_key,
    ]
