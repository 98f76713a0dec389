"""An installation to be hurt: servers, both planes as processes, the carrier in this one, and everything noted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from turncall.demo.desk import Desk, desk_at_work
from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall.process import Process
from turncall_devstack.stack import DevStack, Urls
from turncall_phone.accounts import Account
from turncall_phone.carrier import Carrier
from turncall_testkit.chaos.tenant import Tenant, tenant
from turncall_testkit.chaos.testimony import Testimony, testimony
from turncall_testkit.relay import HOST, Relay

ACCOUNT: Final = Account(
    sid="AC" + "c" * 32, auth_token="a-token-of-the-chaos-runs", numbers=("+15550142000", "+15550142001")
)
CALLER_PREFIX: Final = "+1555017"
SLOTS: Final = 40


class Edges(Struct, frozen=True, kw_only=True):
    """The network before three servers. ``control`` is the balancer before the control plane's replicas."""

    control: Relay
    redis: Relay
    s3: Relay


class Scene(Struct, kw_only=True):
    """What a scenario may dial, kill, stop and read.

    ``dialled`` counts calls, so that each caller has a number and dials another project than the one before;
    ``scanned`` has for each log how many bytes were searched for secrets.
    """

    folder: Path
    installation: Installation
    servers: DevStack
    edges: Edges
    carrier: Carrier
    tenants: tuple[Tenant, ...]
    desk: Desk
    testimony: Testimony
    secrets: tuple[str, ...]
    scanned: dict[Path, int]
    dialled: int = 0

    @property
    def controls(self) -> list[Process]:
        """The control replicas that run."""
        return [replica for replica in self.installation.controls if replica.is_running]

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

    def next_tenant(self) -> Tenant:
        """Whose number the next caller dials: each project's in turn."""
        return self.tenants[self.dialled % len(self.tenants)]


@asynccontextmanager
async def scene(folder: Path, *, workers: int, replicas: int = 1, slots: int = SLOTS) -> AsyncIterator[Scene]:
    """Everything running, in an empty folder: control replicas, workers of ``slots`` calls each, two projects with the
    demonstration's agent."""
    async with (
        DevStack(folder / "stack", durable=False) as servers,
        _edges(servers) as edges,
        Carrier([ACCOUNT]) as carrier,
        desk_at_work() as (desk, tool_url),
        _installation(folder, servers, edges, carrier, slots) as installation,
    ):
        edges.control.ports = [installation.ports[installation.controls[0]]]
        await asyncio.gather(
            *(installation.add_worker() for _ in range(workers - 1)),
            *(add_control(installation, edges) for _ in range(replicas - 1)),
        )
        async with (
            _tenant(servers, edges, "Chaos", ACCOUNT.numbers[0], tool_url, desk) as first,
            _tenant(servers, edges, "Neighbour", ACCOUNT.numbers[1], tool_url, desk) as second,
            testimony(folder / "spool", folder / "testimony") as witness,
        ):
            yield Scene(
                folder=folder,
                installation=installation,
                servers=servers,
                edges=edges,
                carrier=carrier,
                tenants=(first, second),
                desk=desk,
                testimony=witness,
                secrets=(*first.secrets, *second.secrets, ACCOUNT.auth_token, *_secret_keys(servers)),
                scanned={},
            )


async def add_control(installation: Installation, edges: Edges) -> None:
    """One more control replica, which gets its share of requests once it answers."""
    replica = await installation.add_control()
    edges.control.ports.append(installation.ports[replica])


def _tenant(
    servers: DevStack, edges: Edges, name: str, e164: str, tool_url: str, desk: Desk
) -> AbstractAsyncContextManager[Tenant]:
    public_url = f"http://{HOST}:{edges.control.port}"
    return tenant(public_url, servers.keys.platform_key, name, e164, tool_url, desk.trust)


@asynccontextmanager
async def _edges(servers: DevStack) -> AsyncIterator[Edges]:
    async with Relay() as control, Relay(servers.redis.port) as redis, Relay(servers.s3.port) as s3:
        yield Edges(control=control, redis=redis, s3=s3)


def _installation(folder: Path, servers: DevStack, edges: Edges, carrier: Carrier, slots: int) -> Installation:
    return Installation(
        folder,
        _behind(servers.urls, servers, edges),
        servers.keys,
        CarrierAccount(base_url=carrier.base_url, account_sid=ACCOUNT.sid, auth_token=ACCOUNT.auth_token),
        slots=slots,
        public_url=f"http://{HOST}:{edges.control.port}",
        extra={"TURNCALL_HANDOVER_AFTER_S": "1", "TURNCALL_DIAL_RATE_PER_S": "20"},
    )


def _behind(urls: Urls, servers: DevStack, edges: Edges) -> Urls:
    """The servers' addresses with those of the relays before them."""

    def moved(url: str, port: int, edge: Relay) -> str:
        assert f":{port}" in url, "the address names its port"
        return url.replace(f":{port}", f":{edge.port}")

    return replace(
        urls,
        redis_url=moved(urls.redis_url, servers.redis.port, edges.redis),
        blobs_url=moved(urls.blobs_url, servers.s3.port, edges.s3),
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
