"""Requests that a web page can make a browser send are refused."""

from __future__ import annotations

import pytest

from braft_core.http.origin_policy import OriginPolicy, accepted_host_names, split_host

HOST = ("Host", "127.0.0.1:15002")


def verdict(method: str, *headers: tuple[str, str], names: tuple[str, ...] = ()) -> int | None:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    refusal = OriginPolicy(names).refusal(method, raw)
    return refusal.status if refusal else None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:15002",
        "10.1.2.3:80",
        "[::1]",
        "[fe80::1]:15002",
        "localhost",
        "LOCALHOST:1",
        "localhost.:15002",
        "mine",
        "Mine:15002",
        "a.svc.example",
        "b.a.svc.example:1",
    ],
)
def test_own_names_and_addresses_are_accepted(host: str) -> None:
    assert verdict("GET", ("Host", host), names=("mine", ".svc.example")) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "svc.example",
        "evilsvc.example",
        "mine.evil.example",
        "127.0.0.1:15002@evil.example",
        "127.0.0.1:x",
        "127.0.0.1:1:2",
        "[::1",
        "[::1]x",
        "[localhost]",
        "0x7f000001",
        "2130706433",
        "",
        " ",
        "\xff",
    ],
)
def test_others_are_not(host: str) -> None:
    assert verdict("GET", ("Host", host), names=("mine", ".svc.example")) == 421
    assert verdict("GET", ("Host", host), names=("*",)) is None


def test_one_host_is_named() -> None:
    assert verdict("GET", HOST, ("Host", "localhost")) == 400
    assert split_host("Example.ORG:1") == "example.org"
    assert all(accepted_host_names("x"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:15003"),
        ("Origin", "http://127.0.0.1:15002.evil.example"),
        ("Origin", "file://127.0.0.1:15002"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Referer", "http://evil.example/127.0.0.1:15002"),
    ],
)
def test_nothing_changes_from_another_origin(method: str, header: tuple[str, str]) -> None:
    token = ("Authorization", "Bearer x")
    assert verdict(method, HOST, header) == 403
    assert verdict(method, HOST, header, token) == 403, "with a token, too"
    assert verdict("GET", HOST, header) is None


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Origin", "http://127.0.0.1:15002"),),
        (("Origin", "http://127.0.0.1:15002"), ("Sec-Fetch-Site", "same-origin")),
        (("Sec-Fetch-Site", "none"),),
        (("Referer", "http://127.0.0.1:15002/page"),),
        (("Content-Type", "application/json"),),
        (("User-Agent", "curl/8.5.0"),),
        (("User-Agent", "Mozilla/5.0"), ("Origin", "http://127.0.0.1:15002")),
    ],
)
def test_programs_and_own_pages_may(headers: tuple[tuple[str, str], ...]) -> None:
    assert verdict("POST", HOST, *headers) is None
    default = tuple((name, value.replace(":15002", "")) for name, value in headers)
    assert verdict("POST", ("Host", "127.0.0.1:80"), *default) is None


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "Text/Plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/ping",
        "application/csp-report",
    ],
)
def test_what_old_browsers_send_without_asking_needs_a_proof(kind: str) -> None:
    sent = ("Content-Type", kind)
    assert verdict("POST", HOST, sent) == 415
    assert verdict("POST", HOST, sent, ("X-Requested-With", "curl")) is None
    assert verdict("POST", HOST, sent, ("Authorization", "Bearer x")) is None
    assert verdict("PUT", HOST, sent) is None, "no browser puts without asking"


@pytest.mark.parametrize("agent", ["Mozilla/5.0 (X11)", "Opera/9.80 (X11)"])
def test_a_browser_that_names_no_origin_changes_nothing(agent: str) -> None:
    assert verdict("POST", HOST, ("User-Agent", agent)) == 403
    assert verdict("GET", HOST, ("User-Agent", agent)) is None
