"""What one process of the control plane holds open, and what a slice adds to the application."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from litestar.types import ControllerRouterHandler
from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis

from turncall_blobs.opening import open_store
from turncall_blobs.store import BlobStore
from turncall_bus.bus import Bus
from turncall_control import prices
from turncall_control.carriers import accounts
from turncall_control.carriers.accounts import Accounts
from turncall_control.carriers.base import Carrier, CarrierError
from turncall_control.config import ControlConfig
from turncall_control.db import engine
from turncall_control.db.engine import Database
from turncall_control.errors import CarrierFailed, Unavailable
from turncall_control.keyring import Keyring
from turncall_control.prices import Prices
from turncall_control.rates import Rates
from turncall_control.routing import Routing, Told
from turncall_control.settings import SettingsLookup
from turncall_control.shelves import Shelves
from turncall_control.vault import Vault
from turncall_control.vendors.catalogue import Catalogue
from turncall_control.wallet import TwilioAccount, Wallets
from turncall_control.workers import Workers
from turncall_egress import EgressClient, Wall
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime.circuits import Circuits
from turncall_runtime.seal import Sealer


class Counts:
    """What this process did so that calls go on, and each call that it could not help; ids are in the log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"turncall_{name}", description, labels, registry=registry)

        self.resumed = counter("calls_resumed", "Calls that were given to another worker.", "cause")
        self.unrecorded = counter("calls_unrecorded", "Calls answered while Postgres was away, recorded later.")
        self.held = counter("calls_held", "Answers that had a caller wait for a worker.", "stage")
        self.refused = counter("calls_refused", "Calls, and requests about them, that were turned away.", "reason")
        self.redirected = counter("calls_redirected", "Live calls that the carrier was told to ask about.", "outcome")
        self.workers_lost = counter("workers_lost", "Workers with live calls that fell silent.")
        self.withheld = counter("judgements_withheld", "Times when so many workers fell silent that none was judged.")
        self.asked = counter("call_init", "Calls about which a user's server was to be asked.", "outcome")
        self.dials_unknown = counter("dials_unknown", "Calls asked for of which the carrier's answer was lost.")
        self.strays = counter("calls_stray", "Live calls at a carrier that no row knew.", "outcome")
        self.whatsapp = counter("whatsapp_changes", "What WhatsApp's webhooks told of, by kind.", "kind")
        self.reaped = counter("calls_reaped", "Calls without an owner that the reaper brought to an end.", "cause")


class Plane(Struct, frozen=True, kw_only=True):
    """The resources of one process. Routes receive it as ``plane``, tasks as their argument.

    ``turns``: one at a time decides about a call that rings here, and ``contacts``: about what a contact wrote to a
    project; whoever decides or waits keeps its lock alive.
    """

    config: ControlConfig
    database: Database
    redis: Redis
    rates: Rates
    bus: Bus
    workers: Workers
    routing: Routing
    told: Told
    turns: WeakValueDictionary[CallId, asyncio.Lock]
    sealer: Sealer
    keyring: Keyring
    settings: SettingsLookup
    vault: Vault
    wallets: Wallets
    blobs: BlobStore
    shelves: Shelves
    wall: Wall
    egress: EgressClient
    vendors: Catalogue
    prices: Prices
    metrics: CollectorRegistry
    counts: Counts
    accounts: Accounts
    server_circuits: Circuits[tuple[ProjectId, str]]
    transfers_due: asyncio.Event = field(default_factory=asyncio.Event)
    contacts: WeakValueDictionary[tuple[ProjectId, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def carrier(self, project_id: ProjectId, provider: str) -> Carrier:
        """The account that a project's new numbers and calls belong to. Raises `Unavailable` when there is none."""
        with _reported():
            found = await self.accounts.of_project(project_id, provider)
        if found is None:
            raise Unavailable(f"neither this project nor this installation has a {provider} account", retry_after_s=60)
        return found

    async def carrier_of(self, project_id: ProjectId, provider: str, account: str) -> Carrier:
        """The account that something belongs to already. Raises `Unavailable` when it is no longer held."""
        with _reported():
            found = await self.accounts.holding(project_id, provider, account)
        if found is None:
            raise Unavailable(f"the {provider} account {account} is not among the credentials", retry_after_s=60)
        return found

    async def held_keys(self, project_id: ProjectId) -> Collection[str]:
        """The vendors whose key the installation or the project holds."""
        return {*self.config.vendor_keys, *await self.wallets.vendors(project_id)}


Task = Callable[[Plane], AbstractAsyncContextManager[None]]
"""Background work: entered when the process starts, left when it stops; it owns and ends what it starts."""


class Slice(Struct, frozen=True, kw_only=True):
    """One folder of the control plane: its routes, and its background work, if any."""

    name: str
    routes: tuple[ControllerRouterHandler, ...] = ()
    tasks: tuple[Task, ...] = ()


ConnectBus = Callable[[ControlConfig], AbstractAsyncContextManager[Bus]]
"""How the bus is reached; returns at once, also while the server is away."""


@asynccontextmanager
async def opened(
    config: ControlConfig, connect_bus: ConnectBus, vendors: Catalogue, registry: CollectorRegistry
) -> AsyncIterator[Plane]:
    """The resources of a process, closed in reverse order. Nothing here waits for a server that is away."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(engine.opened(config.database_api_url, config.database_system_url))
        redis = Redis.from_url(
            config.redis_url.reveal(), socket_connect_timeout=1, socket_timeout=2, health_check_interval=15
        )
        stack.push_async_callback(redis.aclose)
        wall = Wall(config.egress_allow)
        vault = Vault(database.pool, config.master_key_list)
        wallets = Wallets(database.pool, vault)
        blobs = await stack.enter_async_context(
            open_store(config.blobs_url, config.blobs_access_key, config.blobs_secret_key.reveal())
        )
        yield Plane(
            config=config,
            database=database,
            redis=redis,
            rates=Rates(redis),
            bus=await stack.enter_async_context(connect_bus(config)),
            workers=Workers(),
            routing=Routing(),
            told=Told(),
            turns=WeakValueDictionary(),
            sealer=Sealer(config.seal_public_key),
            keyring=Keyring(database.pool, config.key_peppers),
            settings=SettingsLookup(database.pool),
            vault=vault,
            wallets=wallets,
            blobs=blobs,
            shelves=Shelves(wallets, blobs, wall),
            wall=wall,
            egress=await stack.enter_async_context(EgressClient(wall)),
            vendors=vendors,
            prices=prices.read(config.prices_file),
            metrics=registry,
            counts=Counts(registry),
            accounts=await stack.enter_async_context(
                accounts.opened(wallets, _installation(config), config.twilio_base_url, config.whatsapp_base_url)
            ),
            server_circuits=Circuits(time.monotonic),
        )


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except CarrierError as error:
        raise CarrierFailed(str(error)) from error


def _installation(config: ControlConfig) -> TwilioAccount | None:
    if not config.twilio_account_sid:
        return None
    tokens = (config.twilio_auth_token, config.twilio_secondary_auth_token)
    return TwilioAccount(account_sid=config.twilio_account_sid, auth_tokens=tuple(token for token in tokens if token))
