"""The wall: which host, and which of its addresses, a user's URL may lead to."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from yarl import URL

from turncall_egress.addresses import kind_of_internal, literal, networks
from turncall_egress.errors import Failed, Refused

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a name, at least one. Raises `OSError` when it has none."""

LONGEST_URL: Final = 2048
LONGEST_HOST: Final = 253
"""RFC 1035, 2.3.4, without the last dot."""

WEB_PORTS: Final = frozenset({80, 443})
FIRST_FREE_PORT: Final = 1024
"""Below it live mail, SSH and their like, which an HTTP request with a chosen body can talk to."""

_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_NUMERIC_LABEL = re.compile(r"(0x[0-9a-f]*|[0-9]+)$", re.IGNORECASE)


class SystemResolver:
    """The machine's own resolver, in threads of its own: a slow name server holds up nobody else's threaded work."""

    THREADS: Final = 8

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.THREADS, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of ``host``, in the order of RFC 6724. Raises `OSError`."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)
        return list(dict.fromkeys(found))


def _look_up(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Wall:
    """Lets connections out to the public internet and to ``allow_cidrs``, such as ``10.20.0.0/16``; nowhere else.

    An operator opens networks for all projects; an address written as another family's (``::ffff:10.20.0.1``) is not
    covered by them. ``resolve`` is for tests. Raises `ValueError` for a malformed CIDR.
    """

    def __init__(self, allow_cidrs: Iterable[str] = (), resolve: Resolve | None = None) -> None:
        self._allow = networks(allow_cidrs)
        self._resolve: Resolve = resolve or SystemResolver()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of ``host`` to connect to, each of them checked; connect to them and resolve no more.

        One forbidden address among them refuses the host: who answers so tries something. Raises `Refused`, and
        `Failed` when there is none.
        """
        if literal(host) is not None:
            self.check(host, host)
            return (host,)
        try:
            found = await self._resolve(host)
        except (OSError, UnicodeError) as error:
            raise Failed(f"the name {host} has no address") from error
        for address in found:
            self.check(address, host)
        return tuple(found)

    def check(self, address: str, host: str) -> None:
        """Returns when a connection to ``address``, found for ``host``, may be made; raises `Refused` otherwise."""
        known = literal(address)
        if known is None:
            raise Refused("address", f"{host} leads to something that is no address")
        if any(known.version == network.version and known in network for network in self._allow):
            return
        if (kind := kind_of_internal(known)) is not None:
            raise Refused("address", f"{host} leads to an internal address ({kind})")


def checked_url(text: str) -> URL:
    """The one parsed form of a user's URL: http or https, a host, no credentials, a port that serves the web.

    What is checked is what is used afterwards; the host's addresses are for `Wall` to check. Raises `Refused`.
    """
    if len(text) > LONGEST_URL or _UNSAFE.search(text):
        raise Refused("url", f"longer than {LONGEST_URL} characters, or with spaces, control characters, backslashes")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise Refused("url", "it is malformed") from error
    if url.scheme not in ("http", "https"):
        raise Refused("scheme", "only http and https are spoken")
    if url.user is not None or url.password is not None:
        raise Refused("credentials", "put them into a header")
    _check_host(url.raw_host or "")
    if port is None or not (port in WEB_PORTS or port >= FIRST_FREE_PORT):
        raise Refused("port", "80, 443 and those from 1024 on are open")
    return url


def authority(url: URL) -> str:
    """The host of a checked URL, as credentials are kept by it: ``name`` for https on its own port, else ``name:port``.

    So a secret that was put for ``name`` never goes there in the clear.
    """
    return f"{url.raw_host}" if url.scheme == "https" and url.is_default_port() else f"{url.raw_host}:{url.port}"


def _check_host(host: str) -> None:
    """A number that is not written as the one canonical address is a disguise: ``0x7f.1``, ``2130706433``."""
    if not host or len(host) > LONGEST_HOST or "%" in host or host.startswith(".") or ".." in host:
        raise Refused("host", "it is missing or malformed")
    last_label = host.rstrip(".").rpartition(".")[2]
    if literal(host) is None and (":" in host or _NUMERIC_LABEL.fullmatch(last_label)):
        raise Refused("host", "an IP address is written in its usual form")
