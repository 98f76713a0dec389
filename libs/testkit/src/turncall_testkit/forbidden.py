"""URLs that must lead nowhere: every way that we know of writing an address inside, and names that resolve to one."""

from collections.abc import Mapping, Sequence
from typing import Final

LOCAL_FORMS: Final = [
    *["127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "0.0.0.0", "localhost", "localhost."],
    *["LOCALHOST", "127.1", "127.0.1", "0", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1"],
    *["0X7F.0.0.1", "0177.0.0.1", "0177.1", "017700000001", "00000177.0.0.1", "127.0.0.001"],
    *["127.0.0.1.", "127.000.000.1", "0x7f.0x0.0x0.0x1", "4294967295", "①②⑦.⓪.⓪.①", "127。0。0。1"],
    *["127.0.0.1", "１２７.0.0.1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loCaLhoſt", "%31%32%37.0.0.1", "127%2e0.0.1", "[::1]"],
    *["[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"],
    *["[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]"],
    *["[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::ffff:0:127.0.0.1]", "[fe80::1]", "[fe80::1%25lo]"],
    *["[::1%25lo]", "[0000::0001]"],
]
INTERNAL_HOSTS: Final = [
    *["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "169.254.170.2"],
    *["100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255"],
    *["240.0.0.1", "0.0.0.1", "192.88.99.1", "[fd00:ec2::254]", "[fc00::1]", "[fec0::1]", "[ff02::1]"],
    *["[2001:db8::1]", "[::ffff:169.254.169.254]", "[100::1]", "[::ffff:a9fe:a9fe]"],
    *["[64:ff9b::169.254.169.254]", "[2002:a9fe:a9fe::]", "[3fff::1]", "[5f00::1]", "[::a9fe:a9fe]"],
    *["0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "0xA9.0xFE.0xA9.0xFE"],
    *["169。254。169。254"],
]
NAMES: Final[Mapping[str, Sequence[str]]] = {
    "loop": ["127.0.0.1"],
    "loop6": ["::1"],
    "metadata": ["169.254.169.254"],
    "mixed": ["8.8.8.8", "127.0.0.1"],
    "mapped": ["::ffff:127.0.0.1"],
    "nat64": ["64:ff9b::7f00:1"],
    "sixtofour": ["2002:7f00:1::"],
    "unspecified": ["0.0.0.0"],
    "private": ["10.0.0.1"],
    "unique": ["fd00::1"],
    "teredo": ["2001:0:7f00:1::"],
    "multicast": ["ff02::1"],
    "shared": ["100.64.0.1"],
}
FORBIDDEN: Final = [
    *[f"http://{host}:{{port}}/" for host in LOCAL_FORMS],
    *[f"http://{host}/latest/meta-data/" for host in INTERNAL_HOSTS],
    *[f"http://{name}.test:{{port}}/" for name in NAMES],
    *[f"https://{name}.test/" for name in NAMES],
    "http://user:pw@127.0.0.1:{port}/",
    "http://example.com:{port}@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://[::1]:{port}/?@example.com",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "file:///etc/passwd",
    "ws://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "http:127.0.0.1:{port}",
    "http:///127.0.0.1:{port}/",
    "HTTP://LOOP.TEST:{port}/",
]
"""``{port}`` stands for that of a server of the test's own, which must not be reached."""


def forbidden(port: int) -> list[str]:
    """Every forbidden URL, aimed at a port of this machine where it can be."""
    return [form.replace("{port}", str(port)) for form in FORBIDDEN]


def named(name: str) -> Sequence[str]:
    """The addresses inside to which a hostile name server resolves a name."""
    return NAMES.get(name.lower().partition(".")[0], ["127.0.0.1"])


async def hostile(host: str) -> Sequence[str]:
    """A resolver by which every name there is leads inside."""
    return named(host)
