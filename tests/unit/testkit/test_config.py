"""Which stack the tests run on."""

import pytest

from turncall_runtime.config import ConfigRefused
from turncall_testkit.config import amounts, backend, external_urls

GIVEN = {
    "TURNCALL_DATABASE_MIGRATE_URL": "postgresql://m@db/x",
    "TURNCALL_DATABASE_API_URL": "postgresql://a@db/x",
    "TURNCALL_DATABASE_SYSTEM_URL": "postgresql://s@db/x",
    "TURNCALL_NATS_URL": "nats://bus",
    "TURNCALL_REDIS_URL": "redis://cache",
    "TURNCALL_BLOBS_URL": "s3://bucket?endpoint=http://objects&region=eu",
    "TURNCALL_BLOBS_ACCESS_KEY": "a",
    "TURNCALL_BLOBS_SECRET_KEY": "s",
}


def test_embedded_unless_told() -> None:
    """A checkout and its lock file are enough; another backend is asked for by name, and a wrong name is refused."""
    assert backend({}) == "embedded"
    assert backend({"TURNCALL_TEST_STACK": "containers"}) == "containers"
    with pytest.raises(ConfigRefused, match="TURNCALL_TEST_STACK"):
        backend({"TURNCALL_TEST_STACK": "docker"})


def test_external_servers_are_named_by_the_usual_variables() -> None:
    """The same variables that configure the services; what is missing is named."""
    assert external_urls(GIVEN).database.api == "postgresql://a@db/x"
    assert external_urls(GIVEN).s3_bucket == "bucket"
    with pytest.raises(ConfigRefused, match="TURNCALL_REDIS_URL"):
        external_urls({name: value for name, value in GIVEN.items() if name != "TURNCALL_REDIS_URL"})


def test_a_run_may_ask_for_more_examples() -> None:
    """Each amount is read by its own variable."""
    names = ("test_histories", "test_stored_histories", "test_repeated_calls", "test_unknown_dials")
    asked = amounts({f"TURNCALL_{name.upper()}": str(1000 + place) for place, name in enumerate(names)})
    assert [getattr(asked, name) for name in names] == [1000, 1001, 1002, 1003]
