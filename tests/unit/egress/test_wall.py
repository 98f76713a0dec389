"""Where a user's URL may lead, decided without a socket."""

from collections.abc import Sequence

import pytest

from turncall_egress import Failed, Refused, Wall, checked_url
from turncall_egress.addresses import kind_of_internal, literal

INTERNAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2a00:1450:4001:81b:0:5efe:10.0.0.1",
    "2a00:1450:4001:81b:200:5efe:7f00:1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "192.0.1.1", "198.17.255.255"]
PUBLIC += ["223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2001:4860:4860::8888", "2620:fe::fe"]


def _names(**found: Sequence[str]) -> Wall:
    return _walled([], found)


def _walled(allow: Sequence[str], found: dict[str, Sequence[str]]) -> Wall:
    async def resolve(host: str) -> Sequence[str]:
        if host not in found:
            raise OSError("no such name")
        return found[host]

    return Wall(allow, resolve)


@pytest.mark.parametrize("address", INTERNAL)
async def test_internal_addresses_are_refused(address: str) -> None:
    """Nothing that is not plainly public is connected to, written out or behind a name."""
    with pytest.raises(Refused) as refused:
        await _names(name=[address]).addresses("name")
    assert refused.value.reason == "address"
    with pytest.raises(Refused):
        await _names().addresses(address)


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_pass(address: str) -> None:
    """The internet is open, up to the edges of what is not it."""
    assert await _names(name=[address]).addresses("name") == (address,)
    assert await _names().addresses(address) == (address,)


def test_our_table_agrees_with_the_library_where_it_is_right() -> None:
    """Whatever Python knows to be private is refused by our own table too."""
    for text in INTERNAL + PUBLIC:
        address = literal(text)
        assert address is not None
        if address.is_private or address.is_multicast or address.is_reserved:
            assert kind_of_internal(address) is not None, text


async def test_one_internal_address_refuses_the_name() -> None:
    """A name that answers with a public and an internal address is not connected to at all."""
    with pytest.raises(Refused):
        await _names(mixed=["8.8.8.8", "10.0.0.1"]).addresses("mixed")


async def test_what_is_no_address_is_refused() -> None:
    """A resolver's answer is not trusted to be well formed."""
    for answer in ("127.1", "0x7f000001", "", "localhost"):
        with pytest.raises(Refused):
            await _names(odd=[answer]).addresses("odd")


async def test_names_without_an_address_fail() -> None:
    """This is no refusal: a name may get an address later. The message holds nothing but the name."""
    with pytest.raises(Failed, match=r"nowhere\.example has no address"):
        await _names().addresses("nowhere.example")


async def test_operators_open_networks() -> None:
    """What is allowed passes, its neighbours do not, nor does the same address in another family's clothes."""
    wall = _walled(["10.20.0.0/16", "fd00:1::/32"], {})

    assert await wall.addresses("10.20.3.4") == ("10.20.3.4",)
    assert await wall.addresses("fd00:1::5") == ("fd00:1::5",)
    for closed in ("10.21.0.1", "fd00:2::1", "::ffff:10.20.3.4", "64:ff9b::10.20.3.4", "2002:a14:304::"):
        with pytest.raises(Refused):
            await wall.addresses(closed)


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "all", "10.0.0.0/33", ""])
def test_malformed_networks_are_refused_at_the_start(cidr: str) -> None:
    """An operator's slip opens nothing."""
    with pytest.raises(ValueError, match=r"."):
        Wall([cidr])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/_x", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("//example.com/", "scheme"),
        ("example.com", "scheme"),
        ("", "scheme"),
        ("unix:/var/run/docker.sock", "scheme"),
        ("http://user:pw@example.com/", "credentials"),
        ("http://user@example.com/", "credentials"),
        ("http://:pw@example.com/", "credentials"),
        ("http://example.com@127.0.0.1/", "credentials"),
        ("http:///path", "host"),
        ("http://?x", "host"),
        ("http://2130706433/", "host"),
        ("http://0x7f000001/", "host"),
        ("http://0x7f.0.0.1/", "host"),
        ("http://0177.0.0.1/", "host"),
        ("http://017700000001/", "host"),
        ("http://127.1/", "host"),
        ("http://127.0.1/", "host"),
        ("http://0/", "host"),
        ("http://127.0.0.1./", "host"),
        ("http://127.0.0.001/", "host"),
        ("http://256.256.256.256/", "host"),
        ("http://a..b/", "host"),
        ("http://example.com:22/", "port"),
        ("http://example.com:25/", "port"),
        ("http://example.com:0/", "port"),
        ("http://example.com:99999/", "url"),
        ("http://example.com:x/", "url"),
        ("http://[::1/", "url"),
        ("http://exa mple.com/", "url"),
        ("http://example.com\\@127.0.0.1/", "url"),
        ("http://example.com/\r\nHost: x", "url"),
        ("http://example.com/\x00", "url"),
        (" http://example.com/", "url"),
        ("http://example.com/" + "x" * 3000, "url"),
        ("http://" + "a" * 300 + ".com/", "host"),
    ],
)
def test_malformed_urls_are_refused(url: str, reason: str) -> None:
    """What is not a plain web address is refused, and the reason is one of a few words."""
    with pytest.raises(Refused) as refused:
        checked_url(url)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com", "example.com"),
        ("https://Example.COM:8443/a?b=c#d", "example.com"),
        ("http://example.com:8080/", "example.com"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111"),
        ("https://1.1.1.1/", "1.1.1.1"),
        ("https://3com.com/", "3com.com"),
    ],
)
def test_plain_urls_pass(url: str, host: str) -> None:
    """Names, ports that serve the web, and addresses in their usual form."""
    assert checked_url(url).raw_host == host


@pytest.mark.parametrize("url", ["http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127.0.0.1/", "http://ⓛocalhost/"])
async def test_letters_in_disguise_are_seen_through(url: str) -> None:
    """What other alphabets fold into is what is checked."""
    with pytest.raises(Refused):
        await _names(localhost=["127.0.0.1"]).addresses(checked_url(url).raw_host or "")


def test_messages_hold_no_query_and_no_address() -> None:
    """An error text may be shown to a tenant: neither a token in the query nor what a name resolved to is in it."""
    with pytest.raises(Refused) as refused:
        checked_url("http://user:hunter2@example.com/?token=abc")
    assert not [part for part in ("hunter2", "abc", "example") if part in str(refused.value)]
    with pytest.raises(Refused) as refused:
        _names().check("10.1.2.3", "hooks.example")
    assert "10.1.2.3" not in str(refused.value)
