"""``python -m turncall_control`` and one of `COMMANDS`.

Each command imports what it needs: the parent of the serving processes stays small, and a refusal comes at once.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from ctypes import CDLL
from pathlib import Path
from typing import TYPE_CHECKING, Final

from psycopg import AsyncConnection

import turncall_proto
from turncall_control import config as configuration
from turncall_runtime import logs
from turncall_runtime.config import ConfigRefused, env_example, secrets_of

if TYPE_CHECKING:
    from litestar import Litestar

    from turncall_control.rotation import Rotated, Rotation

PR_SET_PDEATHSIG: Final = 1
ACCESS_BEGINS: Final = "<!-- Who may do what: made from the routes by `make schema`. -->\n"
ACCESS_ENDS: Final = "<!-- End of who may do what. -->"
GRACE_S: Final = 20
"""Running requests may take this long after SIGTERM; then the process is killed."""


def serve() -> None:
    """Serves HTTP until SIGTERM, then finishes the requests that run."""
    from granian import Granian  # noqa: PLC0415
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415

    config = configuration.read()
    logs.configure("control", config.log_level, secrets_of(config))
    Granian(
        "turncall_control.__main__:application",
        factory=True,
        address=config.http_host,
        port=config.http_port,
        workers=config.http_workers,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.uvloop,
        workers_kill_timeout=GRACE_S,
        respawn_failed_workers=True,
        log_enabled=False,
    ).serve()


def application() -> "Litestar":
    """What each serving process runs. It ends with its parent, also one that was killed; Linux only (prctl(2))."""
    from turncall_control.app import from_environment  # noqa: PLC0415

    if sys.platform == "linux":
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return from_environment()


def migrate() -> None:
    """Brings the database to the newest schema."""
    from turncall_control.migrations.upgrade import upgrade  # noqa: PLC0415

    config = configuration.read_migrate()
    logs.configure("control", config.log_level, secrets_of(config))
    upgrade(config.database_migrate_url)


def rotate_master_key() -> None:
    """Wraps every data key under the first of TURNCALL_MASTER_KEYS; then the others can be dropped."""
    from turncall_control import rotation  # noqa: PLC0415

    rotate(rotation.rotate_master_key)


def rotate_data_keys() -> None:
    """Gives every project a new data key and encrypts its secrets under it."""
    from turncall_control import rotation  # noqa: PLC0415

    rotate(rotation.rotate_data_keys)


def rotate(rotation: "Rotation") -> None:
    """Runs a rotation over a connection of its own and says how much it did."""
    config, masters = configuration.read_rotation()
    logs.configure("control", config.log_level, secrets_of(config))

    async def run() -> "Rotated":
        async with await AsyncConnection.connect(config.database_system_url.reveal(), autocommit=True) as connection:
            return await rotation(connection, masters)

    rotated = asyncio.run(run())
    sys.stdout.write(f"{rotated.rewritten} written anew, {rotated.deleted} old keys deleted\n")


def schema() -> None:
    """Writes openapi.json into the contract's package, and who may do what into our README, to be reviewed."""
    from turncall_control.app import SLICES, assembled, reference  # noqa: PLC0415
    from turncall_control.openapi import matrix  # noqa: PLC0415

    target = Path(turncall_proto.__file__).parent / "schema" / "openapi.json"
    target.write_bytes(reference())
    readme = Path(__file__).parents[2] / "README.md"
    before, begin, rest = readme.read_text().partition(ACCESS_BEGINS)
    _, end, after = rest.partition(ACCESS_ENDS)
    readme.write_text(f"{before}{begin}\n{matrix(assembled(SLICES, [], None))}{end}{after}")


def show_example() -> None:
    """Prints the commented environment of a serving process and of ``migrate``."""
    sys.stdout.write(env_example(configuration.ControlConfig) + "\n" + env_example(configuration.MigrateConfig))


def show_events() -> None:
    """Prints the tables of events by channel and state, as the README shows them."""
    from turncall_control.webhooks.occurrences import apart_table, sessions_table, table  # noqa: PLC0415

    sys.stdout.write(f"{table()}\n\n{sessions_table()}\n\n{apart_table()}\n")


COMMANDS: Final[dict[str, Callable[[], None]]] = {
    "serve": serve,
    "migrate": migrate,
    "rotate-master-key": rotate_master_key,
    "rotate-data-keys": rotate_data_keys,
    "schema": schema,
    "env-example": show_example,
    "event-table": show_events,
}


def main(arguments: Sequence[str]) -> int:
    """Runs one command; 2 for an unknown one, 1 when the environment is refused, with every reason."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(f"python -m turncall_control {' | '.join(COMMANDS)}\n")
        return 2
    try:
        COMMANDS[arguments[0]]()
    except ConfigRefused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
