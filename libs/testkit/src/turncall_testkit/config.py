"""Which stack the tests run on, from the environment."""

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


def backend(environ: Mapping[str, str]) -> Backend:
    """The stack asked for by ``TURNCALL_TEST_STACK``. Raises `ConfigRefused`."""
    return load(TestConfig, environ).test_stack


def external_urls(environ: Mapping[str, str]) -> Urls:
    """The addresses of servers that somebody else runs. Raises `ConfigRefused` naming what is missing."""
    return load(Urls, environ)
