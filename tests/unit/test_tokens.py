"""Tokens: what is accepted, which role a secret has, what an action needs."""

from __future__ import annotations

import pytest

from braft_core.tokens import (
    Keyring,
    Role,
    Tokens,
    bearer,
    role_for_http,
    role_for_rpc,
    secret_of,
)

OPS = "operations-operations"
APP = "application-application"
EYE = "monitoring-monitoring"
TOKENS = Tokens.parse(f"{OPS},write:{APP} , read:{EYE}")


def test_each_secret_has_its_role() -> None:
    assert TOKENS.role_of(OPS.encode()) is Role.ADMIN
    assert TOKENS.role_of(APP.encode()) is Role.WRITE
    assert TOKENS.role_of(EYE.encode()) is Role.READ
    for wrong in (b"", b"x", f"write:{APP}".encode(), OPS.encode() + b"x", b"\xff" * 20):
        assert TOKENS.role_of(wrong) is None
    assert Tokens().role_of(b"") is None


def test_nodes_prove_themselves_by_the_first_one_for_admin() -> None:
    tokens = Tokens.parse(f"read:{EYE},admin:{OPS},{APP}")
    assert tokens.admins == (OPS.encode(), APP.encode())
    assert tokens.first == OPS
    assert Tokens().first == ""
    assert not Tokens()
    assert tokens


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "token 1 has fewer than 16"),
        ("123456789012345", "token 1 has fewer than 16"),
        ("read:12345678901", "token 1 has fewer than 16"),
        (f"{OPS},", "token 2 has fewer than 16"),
        ("with blank in the middle", "token 1 has blanks"),
        (f"{OPS},sésame-sésame-sésame", "token 2 has blanks or characters"),
        (f"{OPS},read:{OPS}", "given twice"),
        (f"read:{EYE},write:{APP}", "no token has the role admin"),
    ],
)
def test_what_is_no_list_of_tokens(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        Tokens.parse(text)
    assert not any(secret in str(caught.value) for secret in (OPS, APP, EYE))


def test_a_file_has_a_token_a_line_and_comments() -> None:
    text = f"# rotated in May\n{OPS}\n\n  write:{APP}\n# read:{EYE}\n"
    assert Tokens.parse_lines(text) == Tokens.parse(f"{OPS},write:{APP}")
    with pytest.raises(ValueError, match="no token has the role admin"):
        Tokens.parse_lines("# nothing\n")


def test_secrets_are_not_shown() -> None:
    shown = f"{TOKENS!r} {Keyring(TOKENS)!r} {Keyring.of(OPS).__dict__}"
    assert not any(secret in shown for secret in (OPS, APP, EYE))
    assert "admin, write, read" in shown


def test_a_client_sends_the_first_secret_without_its_role() -> None:
    assert secret_of(OPS) == OPS
    assert secret_of(f"write:{APP},{OPS}") == APP
    assert secret_of("short") == "short"


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        (b"Bearer x", b"x"),
        (b"bearer  x ", b"x"),
        (b"Bearer", b""),
        (b"Bearer ", b""),
        (b"Basic x", b""),
        (b"", b""),
    ],
)
def test_bearer(header: bytes, secret: bytes) -> None:
    assert bearer(header) == secret


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/raft", Role.READ),
        ("HEAD", "/v1/kv/m/k", Role.READ),
        ("GET", "/v1/members", Role.READ),
        ("GET", "/v1/snapshots", Role.READ),
        ("GET", "/v1/snapshots/", Role.READ),
        ("GET", "/nowhere", Role.READ),
        ("POST", "/kv", Role.WRITE),
        ("DELETE", "/kv", Role.WRITE),
        ("POST", "/distribute", Role.WRITE),
        ("PUT", "/v1/kv/v1/members", Role.WRITE),
        ("POST", "/counter", Role.WRITE),
        ("BREW", "/kv", Role.WRITE),
        ("POST", "/v1/members", Role.ADMIN),
        ("POST", "/v1/members/", Role.ADMIN),
        ("DELETE", "/v1/members/x", Role.ADMIN),
        ("POST", "/v1/members/x/promote", Role.ADMIN),
        ("POST", "/v1/leader", Role.ADMIN),
        ("POST", "/v1/snapshots", Role.ADMIN),
        ("GET", "/v1/snapshots/x", Role.ADMIN),
        ("HEAD", "/v1/snapshots/x", Role.ADMIN),
        ("GET", "/v1/snapshots//x", Role.ADMIN),
    ],
)
def test_what_a_request_needs(method: str, path: str, role: Role) -> None:
    assert role_for_http(method, path) is role


def test_what_a_call_needs() -> None:
    assert role_for_rpc("/Raft/GetDetails") is Role.READ
    assert role_for_rpc("/Raft/ApplyLog") is Role.ADMIN
    assert role_for_rpc("/RaftTransport/AppendEntries") is None
    assert role_for_rpc("/braft.v1.Peer/Probe") is None
