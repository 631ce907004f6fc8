"""The reason why a node is not ready, in every place that shows it.

Each case provokes one cause with real processes. The message must name the addresses, ids and
numbers concerned and match a row of docs/operations.md. It must appear in /readyz, in GET /raft,
in ``braft status``, in ``braft doctor``, and once in the log.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_testing.processes import ProcessCluster, ProcessNode, wait_for

pytestmark = pytest.mark.integration

#: Seconds for which a logged reason is not logged again, in these tests.
QUIET = 3.0
DURATION = re.compile(r"\d+(\.\d+)? m?s\b")

BRITTLE = """
import os, time
from pathlib import Path

from braft_core.abc import Discovery
from braft_core.errors import StorageFull
from braft_core.plugin import hookimpl
from braft_core.storage.sqlite import SQLiteStorage

MARKS = Path(os.environ["BRITTLE_MARKS"])


class Brittle(SQLiteStorage):
    name = "brittle"

    def write(self, batches):
        if (MARKS / "full").exists():
            raise StorageFull("no space left on the disk of /data")
        while (MARKS / "stalled").exists():
            time.sleep(0.02)
        super().write(batches)


class Unwell(Discovery):
    name = "unwell"

    async def discover(self):
        raise RuntimeError("the registry is down")


@hookimpl
def braft_register_storage():
    return Brittle


@hookimpl
def braft_register_discovery():
    return Unwell
"""


ONE, TWO = "one-one-one-one-one", "two-two-two-two-two"


class Case(NamedTuple):
    """A node that is not ready, words of its message, and the beginning of the documented row."""

    cluster: ProcessCluster
    number: int
    words: list[str]
    row: str
    token: str = ""


Documented = Callable[[str], list[str]]


@pytest.fixture
def brittle(
    tmp_path: Path, install_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Install a disk and a discovery that fail on demand; return the folder for the demands."""
    site = install_plugin("brittle", BRITTLE)
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("BRITTLE_MARKS", str(marks))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    return marks


# --------------------------------------------------------------------------------------------
# The places


def run(case: Case, *words: str) -> str:
    """Return what a ``braft`` command prints when it asks the node of the case."""
    command = [
        sys.executable,
        "-m",
        "braft_core",
        *words,
        "--url",
        case.cluster.nodes[case.number].url,
    ]
    if case.token:
        command += ["--token", case.token]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def missing(case: Case, text: str) -> list[str]:
    return [word for word in case.words if word not in text]


def readyz(url: str) -> tuple[int, dict[str, Any]]:
    """Return status and body. :raises BraftError: the node does not answer (yet)."""
    try:
        answer = httpx.get(f"{url}/readyz", trust_env=False, timeout=20)
    except httpx.HTTPError as error:
        raise BraftError(str(error)) from error
    return answer.status_code, answer.json()


def noted(url: str, subject: str) -> str:
    """Return a note of ``/readyz``, or "" if the node is not ready or has none."""
    status, body = readyz(url)
    return str(body.get("notes", {}).get(subject, "")) if status == 200 else ""


def check_everywhere(case: Case, documented: Documented) -> None:
    cluster, index = case.cluster, case.number
    url = cluster.nodes[index].url

    def said() -> str:
        status, body = readyz(url)
        if status != 503 or missing(case, body["detail"]):
            raise BraftError(f"/readyz says {body}")
        return str(body["detail"])

    sentence = wait_for(said, what=f"/readyz says {case.words}")
    rows = documented(sentence)
    assert any(row.startswith(case.row) for row in rows), f"{sentence!r} is of the rows {rows}"

    headers = {"Authorization": f"Bearer {case.token}"} if case.token else {}

    def viewed() -> bool:
        view = httpx.get(
            f"{url}/raft?timeout=1", headers=headers, trust_env=False, timeout=20
        ).json()
        return not missing(case, view["waiting"]) and not missing(case, view["nodes"][0]["error"])

    def shown() -> bool:
        told = [w for w in run(case, "status").splitlines() if w.startswith("not served: ")]
        return len(told) == 1 and not missing(case, told[0])

    def diagnosed() -> dict[str, Any]:
        report = json.loads(run(case, "doctor", "--json"))
        # The list is empty if the node does not answer within the doctor's timeout.
        found = [f for f in report["findings"] if f["subject"] == "service"]
        return next((f for f in found if not missing(case, f["message"])), {})

    # Poll each: a peer that once answers late makes the message differ for a moment.
    wait_for(viewed, what=f"GET /raft says {case.words}")
    wait_for(shown, what=f"braft status says {case.words}")
    found = wait_for(diagnosed, what=f"braft doctor says {case.words}")
    assert found["level"] == "fail"
    assert "braft docs operations" in found["remedy"]
    check_log(case)


def check_log(case: Case) -> None:
    """Check that the reason is logged once, and not again while it lasts."""
    node = case.cluster.nodes[case.number]

    def told() -> list[str]:
        """Return the lines with the reason, without times of day and durations.

        Another reason why a peer does not answer, as after a short pause, may be logged as well.
        """
        lines = node.log.read_text(errors="replace").splitlines()
        found = [line[line.index(": ") :] for line in lines if not missing(case, line)]
        return [DURATION.sub("", line) for line in found]

    wait_for(told, what=f"the log says {case.words}")
    seen = time.monotonic()
    wait_for(lambda: time.monotonic() - seen > QUIET)
    assert len(told()) == len(set(told())), "it is told once"


# --------------------------------------------------------------------------------------------
# The causes


def initial_member_missing(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start(0, 1)
        here, there, gone = (node.address for node in cluster.nodes)
        words = [f"2 of 3 nodes are here ({here}, {there})", f"not answering: {gone} ("]
        yield Case(cluster, 0, ["no cluster yet after", *words], "no cluster yet")


def expectations_differ(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.start(0, expect=3)
        cluster.start(1, expect=2)
        other = cluster.nodes[1].address
        words = [f"expect differs: this node expects 3, {other} expects 2"]
        yield Case(cluster, 0, words, "expect differs")


def blank_directory_copied(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.start(0, expect=3)
        cluster.wait_for(lambda: cluster.why_not_ready(0), what="it has chosen its id")
        assert cluster.stop(0) == 0
        first, second = cluster.nodes
        shutil.copytree(first.data, second.data)
        cluster.start(expect=3)
        words = ["node id ", f" is used at {first.address} and {second.address}", "copied?"]
        yield Case(cluster, 0, words, "node id")


def other_cluster_name(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start(0, 1)
        cluster.start(2, cluster_name="other")
        stranger = cluster.nodes[2].address
        words = ["2 of 3 nodes are here", f"{stranger} is of another cluster, 'other'"]
        yield Case(cluster, 0, words, "…; … is of another cluster")


def majority_gone(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.kill(1, 2)
        gone = [cluster.nodes[index].address for index in (1, 2)]
        words = ["no leader for ", "2 of 3 voters do not answer", *gone, "this cluster tolerates 1"]
        yield Case(cluster, 0, words, "no leader for")


def nobody_found(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start(expect=3)
        words = [f"1 of 3 nodes are here ({cluster.nodes[0].address})", "discovery lists no more"]
        yield Case(cluster, 0, words, "no cluster yet after 4 s: 1 of 3 nodes are here (…); disc")


def no_discovery(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start(discovery="none", expect=3)
        words = ["1 of 3 nodes are here", "no discovery is configured that could find more"]
        yield Case(cluster, 0, words, "no cluster yet after 4 s: 1 of 3 nodes are here (…) and no")


def discovery_failing(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start(discovery="unwell:", expect=3)
        yield Case(cluster, 0, ["discovery failed: the registry is down"], "discovery failed")


def member_wiped(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        victim = next(index for index in cluster.awake if index != cluster.leader())
        cluster.kill(victim)
        data = cluster.nodes[victim].data
        data.rename(data.with_name("lost"))
        cluster.start(victim)
        address = cluster.nodes[victim].address
        words = [
            f"joining cluster {cluster.client(cluster.leader()).status()['clusterID']}",
            f"address {address} belongs to another member",
            f"braft members remove {address}",
        ]
        yield Case(cluster, victim, words, "…: address … belongs")


def member_removed(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        victim = next(index for index in cluster.awake if index != leader)
        server_id = cluster.client(victim).status()["nodes"][0]["serverID"]
        cluster_id = cluster.client(leader).status()["clusterID"]
        cluster.client(leader).remove_member(server_id)
        words = [
            f"this node was removed from cluster {cluster_id}",
            cluster.nodes[leader].address,
            "start it with an empty data directory",
        ]
        yield Case(cluster, victim, words, "this node was removed")


def members(cluster: ProcessCluster) -> list[tuple[str, ...]]:
    """Return id, address and suffrage of each member."""
    return [(m.id, m.address, m.suffrage) for m in cluster.client(0).members()]


def member_copied(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        original = next(index for index in cluster.awake if index != cluster.leader())
        assert cluster.stop(original) == 0
        copy = cluster.add_node()
        shutil.copytree(cluster.nodes[original].data, cluster.nodes[copy].data)
        cluster.start(original)
        cluster.wait_ready()
        before = members(cluster)
        cluster.start(copy)
        address = cluster.nodes[original].address
        words = ["node id ", f" is used at {address} and {cluster.nodes[copy].address}", "copied?"]
        yield Case(cluster, copy, words, "node id")
        # The member is not affected.
        cluster.wait_ready(0, 1, 2)
        assert members(cluster) == before
        assert cluster.nodes[copy].address in noted(cluster.nodes[original].url, "node id")


def tokens_differ(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.start(0, token=ONE)
        cluster.start(1, token=TWO)
        other = cluster.nodes[1].address
        words = [
            "1 of 2 nodes are here",
            f"not answering: {other} (does not know the token of this node",
        ]
        yield Case(cluster, 0, words, "does not know the token", token=ONE)


def tls_on_one_side(tmp_path: Path) -> Iterator[Case]:
    yield from _tls(tmp_path, 0)


def tls_on_the_other_side(tmp_path: Path) -> Iterator[Case]:
    yield from _tls(tmp_path, 1)


def _tls(tmp_path: Path, index: int) -> Iterator[Case]:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.start(0, tls_ca=cert, tls_cert=cert, tls_key=key)
        cluster.start(1)
        other = cluster.nodes[1 - index].address
        words = [f"not answering: {other} (cannot connect, though something listens there"]
        yield Case(cluster, index, words, "…; not answering: … (cannot connect, though")


def disk_full(tmp_path: Path) -> Iterator[Case]:
    sentence = "no writes: no space left on the disk of /data"
    yield from _disk(tmp_path, "full", sentence, "no writes: …")


def disk_stalled(tmp_path: Path) -> Iterator[Case]:
    sentence = "no writes: a write to the disk has taken "
    yield from _disk(tmp_path, "stalled", sentence, sentence)


def disk_slow_in_an_election(tmp_path: Path) -> Iterator[Case]:
    with ProcessCluster(1, tmp_path, storage="brittle") as cluster:
        cluster.start()
        cluster.wait_ready()
        assert cluster.stop(0) == 0
        mark = tmp_path / "marks" / "stalled"
        mark.touch()
        cluster.start()
        slow = "; the disk is slow: a write has taken "
        yield Case(cluster, 0, ["no leader for ", slow], f"…{slow}")
        mark.unlink()
        cluster.wait_ready()


def _disk(tmp_path: Path, mark: str, sentence: str, row: str) -> Iterator[Case]:
    """Run a single node, so that no other one takes over."""
    with ProcessCluster(1, tmp_path, storage="brittle") as cluster:
        cluster.start()
        cluster.wait_ready()
        (tmp_path / "marks" / mark).touch()
        with suppress(BraftError):
            cluster.client(timeout=1.0).kv_put("m", "k", 1)
        yield Case(cluster, 0, [sentence], row)
        (tmp_path / "marks" / mark).unlink()
        cluster.wait_ready()
        cluster.client().kv_put("m", "k", 2)


@pytest.mark.parametrize(
    "cause",
    [
        initial_member_missing,
        expectations_differ,
        blank_directory_copied,
        member_copied,
        other_cluster_name,
        majority_gone,
        nobody_found,
        no_discovery,
        discovery_failing,
        member_wiped,
        member_removed,
        tokens_differ,
        tls_on_one_side,
        tls_on_the_other_side,
        disk_full,
        disk_stalled,
        disk_slow_in_an_election,
    ],
)
def test_the_reason_is_in_all_places(
    cause: Callable[[Path], Iterator[Case]], tmp_path: Path, brittle: Path, documented: Documented
) -> None:
    with contextmanager(cause)(tmp_path) as case:
        check_everywhere(case, documented)


# --------------------------------------------------------------------------------------------
# Problems of a node that serves


def test_a_rival_cluster_is_noted_in_all_places_by_nodes_that_serve(
    tmp_path: Path, documented: Documented
) -> None:
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.start(discovery="none", expect=1)
        cluster.wait_ready()
        ids = []
        for index in (0, 1):
            cluster.client(index).kv_put("m", "k", index)
            ids.append(cluster.client(index).status()["clusterID"])
            assert cluster.stop(index) == 0
        cluster.start()
        cluster.wait_ready()
        url, other = cluster.nodes[0].url, cluster.nodes[1].address
        words = [f"this node is in {ids[0]}, {other} is in {ids[1]} with 1 voters"]
        case = Case(cluster, 0, words, "two clusters of one name")
        sentence = wait_for(lambda: noted(url, "rival cluster"), what="the other one is noted")
        assert not missing(case, sentence)
        assert any(row.startswith(case.row) for row in documented(sentence))
        assert cluster.client(0).ready() == (True, "")
        view = cluster.client(0).status()
        assert view["waiting"] == ""
        assert view["nodes"][0]["notes"]["rival cluster"] == sentence
        assert not missing(case, run(case, "status"))
        report = json.loads(run(case, "doctor", "--json"))
        (found,) = [f for f in report["findings"] if f["subject"] == "rival cluster"]
        assert found["level"] == "fail"
        assert not missing(case, found["message"])
        check_log(case)


def test_a_member_with_another_token_is_noted_on_both_sides(
    tmp_path: Path, documented: Documented
) -> None:
    with ProcessCluster(3, tmp_path, token=ONE) as cluster:
        cluster.start()
        cluster.wait_ready()
        urls = [node.url for node in cluster.nodes]
        with Client(urls, token=ONE) as client:
            led_by = client.leader()
        assert led_by is not None
        follower = next(node for node in cluster.nodes if node.address != led_by.address)
        leader = next(node for node in cluster.nodes if node.address == led_by.address)
        cluster.restart(follower.index, token=TWO)

        for node, other in ((follower, leader), (leader, follower)):

            def refused(node: ProcessNode = node, other: ProcessNode = other) -> str:
                # Neither accepts the other's calls, so only the leader is ready.
                _, body = readyz(node.url)
                note = str(body.get("notes", {}).get("token", "")) or str(body.get("detail", ""))
                found = note[note.find("calls between") :]
                return found if f"{other.address} does not know the token" in found else ""

            sentence = wait_for(refused, what=f"{node.address} notes it")
            assert any(row.startswith("calls between") for row in documented(sentence))
