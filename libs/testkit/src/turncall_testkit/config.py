"""Which stack the tests run on, and how much of what can be had in any amount, from the environment."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_devstack import Urls
from turncall_runtime.config import load

Backend = Literal["embedded", "containers", "external"]


class TestConfig(Struct, frozen=True, kw_only=True):
    """What a test run is told."""

    __test__ = False  # no test class, in spite of its name

    test_stack: Annotated[
        Backend, Meta(description="embedded: wheels; containers: Docker; external: addresses in the environment.")
    ] = "embedded"
    test_histories: Annotated[int, Meta(ge=1, description="Histories of a call on the pure model.")] = 200
    test_stored_histories: Annotated[int, Meta(ge=1, description="The same on Postgres, in two orders each.")] = 40
    test_repeated_calls: Annotated[int, Meta(ge=1, description="Calls whose first webhook comes five times.")] = 40
    test_unknown_dials: Annotated[int, Meta(ge=5, description="Calls asked for whose answer is lost.")] = 30


def backend(environ: Mapping[str, str]) -> Backend:
    """The stack asked for by ``TURNCALL_TEST_STACK``. Raises `ConfigRefused`."""
    return load(TestConfig, environ).test_stack


def amounts(environ: Mapping[str, str]) -> TestConfig:
    """How many examples a run is to try: few for every day, more for a proof. Raises `ConfigRefused`."""
    return load(TestConfig, environ)


def external_urls(environ: Mapping[str, str]) -> Urls:
    """The addresses of servers that somebody else runs. Raises `ConfigRefused` naming what is missing."""
    return load(Urls, environ)
