"""Pytest plugin: a test under ``tests/unit`` that reaches for the network fails there and then."""

import sys
from collections.abc import Iterator
from typing import Final

import pytest

REFUSED: Final = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
)
"""Audit events of the standard library. A loop's own pipe is a socket pair, which neither connects nor binds."""


class SocketRefused(RuntimeError):
    """A unit test opened a socket."""


class _Guard:
    """Whether sockets are refused. An audit hook cannot be removed, so it asks here."""

    is_up = False


def pytest_configure() -> None:
    """Listens to what the interpreter does with sockets, for the rest of the process."""
    sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def _no_sockets_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    _Guard.is_up = "unit" in request.path.relative_to(request.config.rootpath).parts[:2]
    yield
    _Guard.is_up = False


def _audit(event: str, _: tuple[object, ...]) -> None:
    if _Guard.is_up and event in REFUSED:
        raise SocketRefused(f"{event}: a unit test opens no socket; give it a fake, or move it to tests/integration")
