"""Which IP addresses are public. Our own tables: what Python calls global differs between its releases.

Sources: the IANA registries of IPv4 and IPv6 special-purpose addresses, and the clouds' metadata services.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV4: Final = {
    "unspecified": ["0.0.0.0/8"],
    "private": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
    "carrier NAT": ["100.64.0.0/10"],  # Alibaba's metadata, 100.100.100.200, is in it
    "loopback": ["127.0.0.0/8"],
    "link-local": ["169.254.0.0/16"],  # metadata of AWS, Google, Azure, Oracle and others: 169.254.169.254
    "metadata": ["168.63.129.16/32"],  # Azure's wire server, a public address by its looks
    "reserved": ["192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4"],
    "documentation": ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"],
    "benchmark": ["198.18.0.0/15"],
    "multicast": ["224.0.0.0/4"],
}

_IPV6: Final = {
    # Forms that carry an IPv4 address: where they lead is for a gateway to say, not for us.
    "IPv4-mapped": ["::ffff:0:0/96"],
    "IPv4-compatible": ["::/96"],  # with it ::1 and ::
    "NAT64": ["64:ff9b::/96", "64:ff9b:1::/48"],
    "6to4": ["2002::/16"],
    "Teredo or protocol": ["2001::/23"],
    "documentation": ["2001:db8::/32", "3fff::/20"],
    "unique local": ["fc00::/7"],  # AWS' metadata, fd00:ec2::254, is in it
    "link-local": ["fe80::/10"],
    "site-local": ["fec0::/10"],
    "multicast": ["ff00::/8"],
}

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that is given out of IPv6. The rest is reserved, whatever it may become."""

_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""The upper half of the interface identifier of an address that carries an IPv4 one (RFC 5214)."""


def _table(kinds: dict[str, list[str]]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(text), kind) for kind, texts in kinds.items() for text in texts)


_KINDS: Final = _table(_IPV4) + _table(_IPV6)


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """The networks written as CIDRs, host bits zero. Raises `ValueError` naming the malformed one."""
    return tuple(ip_network(text) for text in cidrs)


def literal(host: str) -> Address | None:
    """The address that ``host`` spells in the one canonical way, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def kind_of_internal(address: Address) -> str | None:
    """Why ``address`` is none of the public internet, in a word or two; None when it is public."""
    for network, kind in _KINDS:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, IPv4Address):
        return None
    if address not in _GLOBAL_UNICAST:
        return "reserved"
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "ISATAP"
    return None
