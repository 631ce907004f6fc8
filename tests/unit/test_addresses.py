"""The parser of addresses and ids that all inputs share."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.addresses import (
    AddressKind,
    check_member_id,
    check_server_id,
    parse_address,
    parse_host,
    parse_listen,
)
from braft_core.compat.go_braft.server_id import encode_server_id, new_raft_id
from braft_core.errors import DecodeError

#: Any text, near-addresses, and the characters of addresses.
NEARLY = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="0123456789abcdefxX.:[]%-_/@ \x1b\n", max_size=60),
    st.from_regex(r"\[?[0-9a-f:.%]{1,40}\]?(:[0-9]{0,6})?", fullmatch=True),
    st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
LABEL = st.from_regex(r"[a-z_][a-z0-9_-]{0,20}[a-z0-9]", fullmatch=True)
NAMES = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("text", "host", "port", "kind"),
    [
        ("10.0.0.1:15000", "10.0.0.1", 15000, AddressKind.IPV4),
        ("127.0.0.1:1", "127.0.0.1", 1, AddressKind.IPV4),
        ("[::1]:65535", "::1", 65535, AddressKind.IPV6),
        ("[2001:db8:0:0::1]:15000", "2001:db8::1", 15000, AddressKind.IPV6),
        ("[fe80::1%eth0]:15000", "fe80::1%eth0", 15000, AddressKind.IPV6),
        ("[fe80::1%2]:15000", "fe80::1%2", 15000, AddressKind.IPV6),
        ("braft-0.braft.default.svc:15000", "braft-0.braft.default.svc", 15000, AddressKind.DNS),
        ("raft_node_1:15000", "raft_node_1", 15000, AddressKind.DNS),
        ("host.:15000", "host.", 15000, AddressKind.DNS),
        ("xn--bcher-kva.example:1", "xn--bcher-kva.example", 1, AddressKind.DNS),
        (f"{'a' * 63}:1", "a" * 63, 1, AddressKind.DNS),
    ],
)
def test_what_is_one(text: str, host: str, port: int, kind: AddressKind) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.kind) == (host, port, kind)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("unix:/run/docker.sock", "'/'"),
        ("unix:run.sock", "port"),
        ("unix-abstract:x", "port"),
        ("xds:///x:1", "'/'"),
        ("dns:///x:1", "'/'"),
        ("ipv4:10.0.0.1:1", "colon"),
        ("vsock:1:2", "colon"),
        ("http://a:1", "'/'"),
        ("user@host:1", "'@'"),
        ("host:1?x", "'?'"),
        ("host:1#x", "'#'"),
        (r"host\x:1", "a URL or a path"),
        ("host", "port is missing"),
        ("host:", "1 to 65535"),
        ("host:0", "1 to 65535"),
        ("host:65536", "1 to 65535"),
        ("host:-1", "1 to 65535"),
        ("host:+1", "1 to 65535"),
        ("host:1_0", "1 to 65535"),
        ("host:000080", "1 to 65535"),
        (":15000", "host is missing"),
        ("ho st:1", "blanks"),
        (" host:1", "blanks"),
        ("host:1\n", "control"),
        ("host\x00:1", "control"),
        ("\x1b[2J:1", "control"),
        ("host:\u0661", "ASCII"),
        ("bücher.example:1", "xn--"),
        ("ho\u202est:1", "ASCII"),
        ("a..b:1", "labels"),
        ("-a:1", "labels"),
        ("a-.b:1", "labels"),
        (f"{'a' * 64}:1", "63"),
        (f"{'.'.join(['a' * 63] * 4)}:1", "253"),
        (f"{'a' * 400}:1", "longer"),
        ("a,b:1", "labels"),
        ("a%25b:1", "labels"),
        ("127.1:1", "IPv4"),
        ("0x7f000001:1", "IPv4"),
        ("2130706433:1", "IPv4"),
        ("10.0.0.256:1", "IPv4"),
        ("010.0.0.1:1", "IPv4"),
        ("0.0.0.0:1", "no other node"),
        ("[::]:1", "no other node"),
        ("[::ffff:0.0.0.0]:1", "no other node"),
        ("224.0.0.251:5353", "multicast"),
        ("[ff02::fb]:5353", "multicast"),
        ("[::ffff:224.0.0.1]:1", "multicast"),
        ("255.255.255.255:1", "broadcast"),
        ("::1:15000", "brackets"),
        ("fe80::1", "brackets"),
        ("a:b:1", "colon"),
        ("[::1", "closed"),
        ("[::1]", "port is missing"),
        ("[::1]15000", "port is missing"),
        ("[::1]]:1", "port is missing"),
        ("[10.0.0.1]:1", "IPv6"),
        ("[host]:1", "IPv6"),
        ("[2001:db8::1%eth0]:1", "link-local"),
        ("[fe80::1%]:1", "IPv6"),
        ("[fe80::1%eth 0]:1", "blanks"),
        ("[fe80::1%a%b]:1", "IPv6"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(DecodeError, match=why) as caught:
        parse_address(text)
    assert "accepted: host:port" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_a_place_to_listen_may_be_every_address_and_any_port() -> None:
    assert str(parse_listen("0.0.0.0:0")) == "0.0.0.0:0"
    assert str(parse_listen("[::]:15000")) == "[::]:15000"
    with pytest.raises(DecodeError):
        parse_listen("unix:/run/x")


@pytest.mark.parametrize(
    ("text", "host"),
    [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("node-a", "node-a")],
)
def test_a_host_alone(text: str, host: str) -> None:
    assert parse_host(text)[0] == host


@pytest.mark.parametrize("text", ["", "[a]", "10.0.0.1:1", "a/b", "a\n", "0.0.0.0", "::", "é"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_host(text)


@given(NEARLY)
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        address = parse_address(text)
    except DecodeError:
        return
    assert parse_address(str(address)) == address
    assert 1 <= address.port <= 65535
    assert text.isascii()
    assert text.isprintable()
    assert not set("/@?#\\ ") & set(text)
    if address.kind is AddressKind.DNS:
        assert not address.ip
    else:
        assert not ipaddress.ip_address(address.ip).is_multicast
        assert not ipaddress.ip_address(address.ip).is_unspecified


@given(NAMES, st.integers(1, 65535))
def test_names_come_back(name: str, port: int) -> None:
    address = parse_address(f"{name}:{port}")
    assert (address.host, address.port, str(address)) == (name, port, f"{name}:{port}")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_ip_addresses_come_back(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    if mapped.is_multicast or mapped.is_unspecified or str(mapped) == "255.255.255.255":
        with pytest.raises(DecodeError):
            parse_address(text)
    else:
        assert ipaddress.ip_address(parse_address(text).ip) == ip


def test_ids() -> None:
    own = encode_server_id(
        new_raft_id("fd00:1111:2222:3333:4444:5555:6666:77", (65001, 65002, 65003), "h" * 64)
    )
    assert len(own) > 128, "the case that needs more than 128 characters"
    for server_id in (
        "a",
        "node-1",
        "a_b=",
        "x" * 128,
        own,
        encode_server_id(new_raft_id("10.0.0.1", (1, 2, 3))),
    ):
        assert check_server_id(server_id) == server_id


@pytest.mark.parametrize(
    "server_id",
    [
        "",
        "x" * 129,
        "a b",
        "a.b",
        "127.0.0.1:1",
        "a\n",
        "\x1b[31m",
        "é",
        "a\u202e",
        None,
        b"a",
        "a/b",
    ],
)
def test_what_is_no_id(server_id: object) -> None:
    with pytest.raises(DecodeError, match="accepted: 1 to 128") as caught:
        check_server_id(server_id)
    assert caught.value.message.isprintable()


def test_members_of_other_implementations_have_ids_of_more_forms() -> None:
    assert check_member_id("127.0.0.1:8300") == "127.0.0.1:8300"
    for server_id in ("", "a\n", "\x1b", "a\u202eb", "x" * 513, 7):
        with pytest.raises(DecodeError):
            check_member_id(server_id)
