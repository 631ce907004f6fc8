"""The warning of a node that accepts connections from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.config import Settings
from braft_core.errors import ConfigError
from braft_core.runtime.security_check import check_security, security_warning, serves_reflection


def of(host: str, tmp_path: Path, *, tls: bool = False, **settings: Any) -> str:
    if tls:
        for name in ("tls_ca", "tls_cert", "tls_key"):
            file = tmp_path / name
            file.write_text("pem")
            settings[name] = str(file)
    return security_warning(Settings.load(kwargs=settings), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_nobodys_business(host: str, tmp_path: Path) -> None:
    assert of(host, tmp_path) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example"])
def test_what_is_missing_is_named(host: str, tmp_path: Path) -> None:
    both = of(host, tmp_path)
    assert host in both
    assert "BRAFT_TLS_CA" in both
    assert "BRAFT_TOKEN" in both
    assert "BRAFT_TOKEN" not in of(host, tmp_path, token="t0ken-t0ken-t0ken")
    assert "t0ken-t0ken-t0ken" not in of(host, tmp_path, token="t0ken-t0ken-t0ken")
    with_tls = of(host, tmp_path, tls=True)
    assert "BRAFT_TLS_CA" not in with_tls
    assert "BRAFT_TOKEN" in with_tls
    assert of(host, tmp_path, tls=True, http=False) == ""
    assert of(host, tmp_path, tls=True, token="t0ken-t0ken-t0ken") == ""


@pytest.mark.parametrize(("host", "times"), [("0.0.0.0", 1), ("127.0.0.1", 0)])
def test_a_node_warns_once_when_it_starts(
    host: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Node(
        discovery="none",
        data_dir=":memory:",
        ip="127.0.0.1",
        host=host,
        rport=0,
        http=False,
    ) as node:
        node.wait_ready(10)
    warnings = [r for r in caplog.records if "BRAFT_TOKEN" in r.getMessage()]
    assert len(warnings) == times
    assert all(record.levelname == "WARNING" for record in warnings)


def test_asked_for_by_name_it_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "braft_core")
    with Node(
        discovery="none", data_dir=":memory:", host="0.0.0.0", rport=0, http=False, insecure=True
    ) as node:
        node.wait_ready(10)
    said = [r.levelname for r in caplog.records if "BRAFT_TOKEN" in r.getMessage()]
    assert said == ["INFO"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_insecure_off_refuses_to_listen_in_clear(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        Node(data_dir=str(tmp_path / "d"), host=host, rport=0, insecure=False).start()
    assert refused.value.data["setting"] == "insecure"
    assert host in refused.value.message
    for name in ("BRAFT_TLS_CA", "BRAFT_IP=127.0.0.1", "insecure=on"):
        assert name in refused.value.data["accepted"]
    assert not (tmp_path / "d").exists(), "refused before anything is made"


@pytest.mark.parametrize(
    ("host", "tls", "insecure"),
    [("127.0.0.1", False, "off"), ("0.0.0.0", True, "off"), ("0.0.0.0", False, "on")],
)
def test_everything_else_is_allowed(host: str, tls: bool, insecure: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"insecure": insecure}
    if tls:
        for name in ("tls_ca", "tls_cert", "tls_key"):
            (tmp_path / name).write_text("pem")
            given[name] = str(tmp_path / name)
    check_security(Settings.load(environ={}, kwargs=given), host)


@pytest.mark.parametrize("given", [{}, {"insecure": False}])
def test_a_token_beyond_loopback_needs_tls(given: dict[str, Any], tmp_path: Path) -> None:
    secret = "a-secret-of-some-length"
    file = tmp_path / "tokens"
    file.touch()
    for where in ({"token": secret}, {"token_file": str(file)}):
        settings = Settings.load(environ={}, kwargs={**where, **given})
        with pytest.raises(ConfigError, match=r"(?i)insecure=o") as caught:
            check_security(settings, "0.0.0.0")
        assert secret not in f"{caught.value} {caught.value.data}"
        check_security(settings, "127.0.0.1")
    asked_for = Settings.load(environ={"BRAFT_INSECURE": "on"}, kwargs={"token": secret})
    check_security(asked_for, "0.0.0.0")


@pytest.mark.parametrize(
    ("host", "given", "served"),
    [
        ("127.0.0.1", {}, True),
        ("0.0.0.0", {}, False),
        ("0.0.0.0", {"token": "a-secret-of-some-length"}, True),
        ("0.0.0.0", {"grpc_reflection": True}, True),
        ("127.0.0.1", {"grpc_reflection": False}, False),
    ],
)
def test_reflection(host: str, given: dict[str, Any], served: bool) -> None:
    settings = Settings.load(environ={}, kwargs=given)
    assert serves_reflection(settings, host) is served
