"""The classes that the core registers; nothing is imported before it is used."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from braft_core.plugin import builtin
from braft_core.plugin.validation import hook_problems

NAMES = [
    ("serializer", "braft_core.serializers.msgpack", "MsgpackSerializer"),
    ("service", "braft_core.services.kv", "KVService"),
    ("service", "braft_core.services.distribute", "DistributeService"),
    ("service", "braft_core.services.store", "StoreService"),
    ("transport", "braft_core.transport.grpc", "GrpcTransport"),
    ("transport", "braft_core.transport.memory", "MemoryTransport"),
    ("storage", "braft_core.storage.sqlite", "SQLiteStorage"),
    ("storage", "braft_core.storage.memory", "MemoryStorage"),
]


def test_keeps_the_rules_of_every_plugin() -> None:
    assert hook_problems(builtin) == []


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in NAMES}))
def test_each_hook_returns_the_classes_of_its_kind(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace the implementations by stubs: the test is about names."""
    expected = []
    for owner, module, name in NAMES:
        if owner == kind:
            stand_in = types.ModuleType(module)
            expected.append(type(name, (), {}))
            setattr(stand_in, name, expected[-1])
            monkeypatch.setitem(sys.modules, module, stand_in)
    answer = getattr(builtin, f"braft_register_{kind}")()
    assert (answer if isinstance(answer, list) else [answer]) == expected


def test_loading_plugins_imports_no_implementation() -> None:
    code = (
        "import sys, braft_core.plugin.manager as m, braft_core.plugin.registry as r;"
        "registry = r.Registry(m.Plugins.load(tolerate=True));"
        "registry.names('discovery');"
        "heavy = ('grpc', 'sqlite3', 'falcon', 'typer', 'uvicorn', 'waitress');"
        "print([n for n in heavy if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
