"""The audit log records who changed the cluster or copied its data, and never a secret."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from braft_core import Node
from braft_core.audit import audit
from braft_core.client import Client
from braft_testing.processes import free_ports

SECRET, READER = "the-secret-of-the-cluster", "only-for-reading-it"


def test_one_line_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "braft.audit"):
        audit("DELETE /v1/members/x\n\x1b[2J", by="a\nb", server="\u202e" + "x" * 500, index=7)
    (record,) = caplog.records
    line = record.getMessage()
    assert line.isprintable()
    assert len(line) < 500
    assert line.endswith("index='7'")


def test_who_and_what_stand_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rport, dport, hport = free_ports(3)
    tokens = f"{SECRET},read:{READER}"
    caplog.set_level(logging.INFO, "braft.audit")
    with Node(
        ip="127.0.0.1",
        rport=rport,
        dport=dport,
        hport=hport,
        data_dir=str(tmp_path / "data"),
        token=tokens,
    ) as node:
        node.wait_ready(40)
        url = f"http://127.0.0.1:{hport}"
        with Client([url], token=SECRET) as client:
            client.kv_put("m", "k", 1)
            taken = client.take_snapshot()
            client.download_snapshot(taken.id, tmp_path / "copy.snap")
            client.add_member("x", "127.0.0.1:9", voter=False)
            client.remove_member("x")
        with Client([url], token=READER) as reader:
            assert reader.kv_get("m", "k") == 1
    lines = [r.getMessage() for r in caplog.records if r.name == "braft.audit"]
    told = "\n".join(lines)
    assert f"POST /v1/snapshots by='127.0.0.1 (role admin)' index='{taken.index}'" in lines
    assert f"GET /v1/snapshots/{taken.id} by='127.0.0.1 (role admin)'" in told
    assert "DELETE /v1/members/x by='127.0.0.1 (role admin)'" in told
    for kind in ("add_nonvoter", "remove_server"):
        (line,) = [line for line in lines if line.startswith(kind)]
        assert "server='x'" in line
        assert int(line.rpartition("index=")[2].strip("'")) > 0
    assert "/v1/kv" not in told
    assert SECRET not in told
    assert READER not in told
