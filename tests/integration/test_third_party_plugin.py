"""Third-party plugins: real wheels are built, installed beside braft, and found by it.

A plugin is packaged with the build back end that the manual names and installed into a separate
folder. A fresh interpreter with that folder on its path asks braft which plugins it finds. The
plugin of the manual (docs/plugins/README.md) is taken from the text and tested the same way.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "{version}"
dependencies = ["braft-core>=0.1,<0.2"]

[project.entry-points.braft]
{entry} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""

LAB = """
from braft_core.abc import Contact, Discovery, Service
from braft_core.plugin import hookimpl


class LabDiscovery(Discovery):
    name = "lab"

    async def discover(self):
        return [Contact(host, self.context.raft_port, self.name) for host in self.spec.split("+")]


class Counter(Service):
    name = "counter"

    def __init__(self):
        self.value = 0

    def apply(self, command, args, context):
        self.value += args[0]
        return self.value

    def query(self, query, args):
        return self.value

    def snapshot(self):
        yield b"%d" % self.value

    def restore(self, chunks):
        self.value = int(b"".join(chunks))


@hookimpl
def braft_register_discovery():
    return LabDiscovery


@hookimpl
def braft_register_service():
    return [Counter]


@hookimpl
def braft_on_leader_changed(leader, term):
    print("leader", leader, term)
"""

ASK = """
import asyncio, json, sys
from braft_core.abc import CommandContext, DiscoveryContext
from braft_core.errors import PluginError
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry, parse_discovery

def main():
    plugins = Plugins.load(sys.argv[1].split(",") if sys.argv[1] else ())
    registry = Registry(plugins)
    scheme, spec = parse_discovery("lab:a+b", registry.names("discovery"))
    context = DiscoveryContext("id", "127.0.0.1", "", 7000, 7001, 7002, "braft")
    found = asyncio.run(registry.get("discovery", scheme)(spec, context).discover())
    rows = [(i.name, i.distribution, i.version, i.hooks) for i in plugins.loaded]
    if len(sys.argv) > 2:
        service = next(i for i in plugins.implementing("braft_register_service") if i.name == "lab")
        [[counter]] = plugins.call(service, "braft_register_service")
        one, other = counter(), counter()
        one.apply("add", [2], CommandContext(1, 1, 0))
        other.restore(one.snapshot())
        print(other.apply("add", [3], CommandContext(2, 1, 0)))
        plugins.notify("braft_on_leader_changed", node=None, leader="x", term=3)
    return {"found": [str(c) for c in found], "rows": rows}

try:
    answer = main()
except PluginError as error:
    answer = {"error": type(error).__name__, "message": error.message, "data": error.data}
print(json.dumps(answer))
"""


def build(folder: Path) -> Path:
    """Build the project in ``folder`` without network; return its wheel."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"], folder)
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, site: Path) -> None:
    """Install a pure wheel by unpacking it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def run(command: list[str], folder: Path, *paths: Path) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(site: Path, disable: str = "", *, use: bool = False) -> tuple[list[str], dict[str, Any]]:
    """Return the lines and the answer of a fresh interpreter with ``site`` on its path."""
    command = [sys.executable, "-c", ASK, disable, *(["use"] if use else [])]
    *lines, last = run(command, site, site).splitlines()
    answer: dict[str, Any] = json.loads(last)
    return lines, answer


def publish(
    tmp_path: Path, distribution: str, source: str, entry: str, version: str = "1.0"
) -> Path:
    """Write, build and install a plugin; return the folder it is installed in."""
    module = distribution.replace("-", "_")
    project = tmp_path / distribution
    (project / "src" / module).mkdir(parents=True)
    (project / "src" / module / "__init__.py").write_text(source, encoding="utf-8")
    text = PYPROJECT.format(distribution=distribution, version=version, entry=entry, module=module)
    (project / "pyproject.toml").write_text(text, encoding="utf-8")
    site = tmp_path / "site"
    install(build(project), site)
    return site


def test_a_plugin_is_found_chosen_and_used(tmp_path: Path) -> None:
    site = publish(tmp_path, "braft-lab", LAB, "lab", "1.2.3")
    lines, answer = ask(site, use=True)
    assert answer["found"] == ["a:7000", "b:7000"]
    assert [
        "lab",
        "braft-lab",
        "1.2.3",
        ["braft_on_leader_changed", "braft_register_discovery", "braft_register_service"],
    ] in answer["rows"]
    assert lines == ["5", "leader x 3"]


def test_a_broken_plugin_stops_the_start_and_can_be_disabled(tmp_path: Path) -> None:
    publish(tmp_path, "braft-lab", LAB, "lab")
    site = publish(tmp_path, "braft-broken", "import nothing_of_that_name", "broken", "0.3")
    _, answer = ask(site)
    assert answer["error"] == "PluginLoadError"
    assert answer["data"] == {"plugin": "broken", "distribution": "braft-broken", "version": "0.3"}
    assert "No module named 'nothing_of_that_name'" in answer["message"]
    advice = re.search(r"set BRAFT_PLUGINS_DISABLE=(\S+) to", answer["message"])
    assert advice is not None
    _, answer = ask(site, disable=advice[1])
    assert answer["found"] == ["a:7000", "b:7000"]


def test_a_conflicting_plugin_stops_the_start_and_can_be_disabled(tmp_path: Path) -> None:
    publish(tmp_path, "braft-lab", LAB, "lab", "1.0")
    site = publish(tmp_path, "braft-rival", LAB, "rival", "2.0")
    _, answer = ask(site)
    assert answer["error"] == "PluginConflict"
    assert answer["data"]["distributions"] == ["braft-lab", "braft-rival"]
    assert "braft-lab 1.0 and by braft-rival 2.0" in answer["message"]
    _, answer = ask(site, disable="rival")
    assert answer["found"] == ["a:7000", "b:7000"]


def test_two_distributions_with_one_entry_point_name_stop_the_start(tmp_path: Path) -> None:
    publish(tmp_path, "braft-lab", LAB, "lab")
    site = publish(tmp_path, "braft-shadow", LAB, "lab")
    _, answer = ask(site)
    assert answer["error"] == "PluginConflict"
    assert "the plugin name 'lab' is claimed by braft-lab 1.0 and braft-shadow" in answer["message"]
    _, answer = ask(site, disable="braft-shadow")
    assert answer["found"] == ["a:7000", "b:7000"]


def test_without_the_plugin_the_message_says_so(tmp_path: Path) -> None:
    _, answer = ask(tmp_path)
    assert answer["error"] == "PluginNotFound"
    assert "no discovery 'lab' is installed" in answer["message"]


def test_the_serializers_distribution(tmp_path: Path) -> None:
    """The wheel of the project's own plugin is found by its entry point alone."""
    project = ROOT / "plugins" / "braft_serializers"
    out = tmp_path / "dist"
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], project)
    [wheel] = out.glob("*.whl")
    site = tmp_path / "site"
    install(wheel, site)
    code = dedent(
        """
        from braft_core.plugin.manager import Plugins
        from braft_core.plugin.registry import Registry
        registry = Registry(Plugins.load())
        for name in ("msgpack", "cbor", "json"):
            serializer = registry.get("serializer", name)()
            print(name, serializer.tag, serializer.loads(serializer.dumps([b"x", {"$b64": 1.5}])))
        """
    )
    assert run([sys.executable, "-c", code], tmp_path, site).splitlines() == [
        "msgpack 1 [b'x', {'$b64': 1.5}]",
        "cbor 2 [b'x', {'$b64': 1.5}]",
        "json 3 [b'x', {'$b64': 1.5}]",
    ]


def test_the_plugin_of_the_manual_works(tmp_path: Path) -> None:
    """Take its code, packaging and test from the text, and run them."""
    manual = (ROOT / "docs" / "plugins" / "README.md").read_text(encoding="utf-8")
    project = tmp_path / "project"
    for path in ("src/braft_hostsfile/__init__.py", "pyproject.toml", "tests/test_plugin.py"):
        block = re.search(rf"`{re.escape(path)}`:\n\n```\w+\n(.*?)```", manual, re.DOTALL)
        assert block is not None, f"the manual shows no {path}"
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(block[1], encoding="utf-8")
    install(build(project), tmp_path / "site")
    [command] = re.findall(r"^\$ python (-m pytest .*)$", manual, re.MULTILINE)
    printed = run([sys.executable, *command.split()], project, tmp_path / "site")
    assert "1 passed" in printed


def test_the_first_plugin_of_the_manual_has_fifteen_lines() -> None:
    manual = (ROOT / "docs" / "plugins" / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", manual, re.DOTALL)
    assert block is not None
    assert len([line for line in block[1].splitlines() if line.strip()]) <= 15
