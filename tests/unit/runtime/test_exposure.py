"""The warning of a node that listens to everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.config import Settings
from braft_core.runtime.exposure import exposure


def of(host: str, tmp_path: Path, *, tls: bool = False, **settings: Any) -> str:
    if tls:
        for name in ("tls_ca", "tls_cert", "tls_key"):
            file = tmp_path / name
            file.write_text("pem")
            settings[name] = str(file)
    return exposure(Settings.load(kwargs=settings), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_nobodys_business(host: str, tmp_path: Path) -> None:
    assert of(host, tmp_path) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example"])
def test_what_is_missing_is_named(host: str, tmp_path: Path) -> None:
    both = of(host, tmp_path)
    assert host in both
    assert "BRAFT_TLS_CA" in both
    assert "BRAFT_TOKEN" in both
    assert "BRAFT_TOKEN" not in of(host, tmp_path, token="t0ken")
    assert "t0ken" not in of(host, tmp_path, token="t0ken")
    with_tls = of(host, tmp_path, tls=True)
    assert "BRAFT_TLS_CA" not in with_tls
    assert "BRAFT_TOKEN" in with_tls
    assert of(host, tmp_path, tls=True, http=False) == ""
    assert of(host, tmp_path, tls=True, token="t0ken") == ""


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
