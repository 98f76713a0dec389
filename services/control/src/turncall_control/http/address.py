"""Where a request came from: the peer, or what proxies that the operator trusts say of it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from litestar.types import Scope

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(scope: Scope, trusted: Networks) -> str:
    """The address of the client; empty when the server knows none (a socket without addresses).

    X-Forwarded-For is read from the right, as far as trusted proxies wrote it: the rest is the client's own invention.
    """
    client = scope.get("client")
    found = _parsed(client[0]) if client else None
    if found is None:
        return ""
    hops = [hop for name, value in scope["headers"] if name == b"x-forwarded-for" for hop in value.split(b",")]
    for hop in reversed(hops):
        if not _is_in(found, trusted):
            break
        before = _parsed(hop.decode("latin-1").strip())
        if before is None:
            break
        found = before
    return str(found)


def neighbourhood(address: str) -> str:
    """What one client cannot easily leave: the address itself, of IPv6 the /64 in which a client has all addresses."""
    found = _parsed(address)
    return str(IPv6Network((found, 64), strict=False)) if isinstance(found, IPv6Address) else address


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _is_in(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    return any(address in network for network in networks if network.version == address.version)
