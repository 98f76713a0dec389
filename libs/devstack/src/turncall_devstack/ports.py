"""Free TCP ports on 127.0.0.1."""

import random
import socket
from typing import Final

LOWEST: Final = 20_000
HIGHEST: Final = 32_000
"""Below the range from which Linux takes ports for outgoing connections (32768 and up, ip_local_port_range): nobody
takes a server's port by accident while the server is down in an outage test."""


def free_ports(count: int) -> list[int]:
    """``count`` different ports that could be bound a moment ago. Raises `OSError` when there seem to be none."""
    found: set[int] = set()
    for port in random.sample(range(LOWEST, HIGHEST), 1_000):
        if len(found) == count:
            return list(found)
        if _is_free(port):
            found.add(port)
    raise OSError(f"fewer than {count} free ports between {LOWEST} and {HIGHEST} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
