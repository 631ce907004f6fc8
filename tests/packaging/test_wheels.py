"""The built wheels, each alone in a fresh environment as users install it; a node starts there."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core.local_nodes import free_ports

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("wheels"),
]

_PLUGINS = (
    "braft_static",
    "braft_mdns",
    "braft_k8s",
    "braft_serializers",
    "braft_tcp",
    "braft_etcd",
)
_DISTRIBUTIONS = ("braft_core", *_PLUGINS, "braft_testing")

#: A node bootstraps alone, serves a write and a read, stops, and has its data after a restart.
_NODE = """
import sys
from braft_core import Node

rport, dport, hport = map(int, sys.argv[2:5])
settings = dict(
    ip="127.0.0.1", rport=rport, dport=dport, hport=hport, data_dir=sys.argv[1], expect=1
)
if sys.argv[5]:
    settings["discovery"] = sys.argv[5]
with Node(**settings) as node:
    node.kv.put("colors", "sky", "blue")
    assert node.kv.get("colors", "sky") == "blue"
with Node(**settings) as node:
    assert node.kv.get("colors", "sky") == "blue"
print("served")
"""


@pytest.mark.smoke
def test_every_distribution_is_built_with_its_data(wheels: dict[str, Path]) -> None:
    assert sorted(wheels) == sorted(_DISTRIBUTIONS)
    for name, path in wheels.items():
        files = zipfile.ZipFile(path).namelist()
        assert f"{name}/py.typed" in files
        assert not [file for file in files if "tests/" in file or file.endswith(".pyc")]
    core = zipfile.ZipFile(wheels["braft_core"]).namelist()
    assert [file for file in core if file.endswith(".proto")]
    assert [file for file in core if file.endswith("licenses/LICENSE")]
    code = [file for file in core if not file.startswith("braft_core/_docs/")]
    assert not [
        file for file in code if "testing" in file or ("/test_" in file and ".tmpl" not in file)
    ]


@pytest.mark.parametrize(
    ("plugins", "extra", "discovery"),
    [
        pytest.param([], "", "", id="core alone"),
        pytest.param(["braft_static"], "", "static:127.0.0.1:{rport}", id="core and static"),
        pytest.param(list(_PLUGINS), "[all]", "static:127.0.0.1:{rport}", id="all"),
    ],
)
def test_a_node_starts_from_wheels_alone(
    run: Callable[..., str],
    wheels: dict[str, Path],
    installed: Callable[..., Path],
    tmp_path: Path,
    plugins: list[str],
    extra: str,
    discovery: str,
) -> None:
    core = f"braft-core{extra} @ {wheels['braft_core'].as_uri()}"
    python = installed(core, *(wheels[name] for name in plugins))
    ports = free_ports(3)
    spec = discovery.format(rport=ports[0])
    numbers = [str(port) for port in ports]
    said = run(python, "-I", "-c", _NODE, tmp_path / "data", *numbers, spec)
    assert said.strip().endswith("served")

    found = run(python, "-I", "-m", "pip", "list", "--format=freeze")
    names = {re.split("[ =@]", line)[0].replace("-", "_") for line in found.splitlines()}
    assert {name for name in names if name.startswith("braft")} == {"braft_core", *plugins}


def test_the_console_script_answers(
    run: Callable[..., str], wheels: dict[str, Path], installed: Callable[..., Path]
) -> None:
    python = installed(f"braft-core @ {wheels['braft_core'].as_uri()}")
    said = run(python.parent / "braft", "--help")
    assert {"run", "demo", "status", "kv", "members", "leader"} <= set(re.findall(r"\w+", said))
    assert json.loads(run(python.parent / "braft", "config", "--json"))
    pages = json.loads(run(python.parent / "braft", "docs", "--json"))["pages"]
    assert {"readme", "changelog", "operations", "plugins"} <= {page["name"] for page in pages}
    assert run(python.parent / "braft", "docs", "operations").startswith("# Operations\n")
