"""The consensus core alone: its imports, its public names, and driving it by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import braft_core.raft as raft

EXAMPLE = Path(__file__).parents[3] / "examples" / "three_cores.py"

#: Extend this only deliberately: users who drive a core depend on each name.
PUBLIC = {
    "core": {"RaftCore", "RaftConfig", "PeerStatus", "ProgressState", "Role"},
    "output": {"Ready", "ReadReady", "Event", "RoleChanged", "LeaderChanged"}
    | {"ConfigurationChanged", "ConfigurationCommitted"},
    "stored": {"Entry", "EntryType", "HardState", "SnapshotMeta"},
    "membership": {"Configuration", "EMPTY_CONFIGURATION", "Server", "Suffrage"}
    | {"decode_configuration", "encode_configuration"},
    "messages": {"Message", "Request", "Response"}
    | {
        kind + suffix
        for kind in ("AppendEntries InstallSnapshot RequestPreVote RequestVote TimeoutNow".split())
        for suffix in ("", "Response")
    },
}


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_the_public_names_are_these() -> None:
    assert set(raft.__all__) == set().union(*PUBLIC.values())
    assert all(hasattr(raft, name) for name in raft.__all__)


def test_importing_it_loads_the_standard_library_and_msgpack_alone() -> None:
    script = (
        "import sys; before = set(sys.modules); import braft_core.raft\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = _run("-c", script).split()
    ours = {name for name in loaded if name.split(".")[0] == "braft_core"}
    assert {".".join(name.split(".")[:2]) for name in ours} == {
        "braft_core",
        "braft_core.errors",
        "braft_core.raft",
    }
    # The C extension of msgpack imports modules of the Cython that compiled it.
    foreign = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - {"braft_core"}
    assert {name for name in foreign if "cython" not in name} == {"msgpack"}
    for name in ("asyncio", "socket", "threading", "logging", "sqlite3", "grpc", "pluggy"):
        assert name not in loaded


def test_three_cores_are_driven_in_sixty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 60
    assert _run(str(EXAMPLE)) == (
        "b leads term 2; applied: {'a': [b'hello', b'world'], 'b': [b'hello', b'world'], "
        "'c': [b'hello', b'world']}\n"
    )
