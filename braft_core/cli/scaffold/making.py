"""Make the files of a new plugin's distribution from a name and a kind."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Final, NamedTuple

from braft_core.errors import ConfigError
from braft_core.plugin.distributions import version_of

__all__ = ["KINDS", "Made", "make_plugin"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FIRST_FREE_TAG: Final = 16
_DEFAULT_VERSION: Final = "0.1.0"


class _Kind(NamedTuple):
    """The texts of one kind of plugin. ``{name}`` is the plugin's name."""

    summary: str
    usage: str


#: The kinds of plugins.
KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "discovery": _Kind(
            "Discovery {name} for braft: finds the nodes that a file lists.",
            "`BRAFT_DISCOVERY={name}:/etc/nodes` finds the nodes that the file lists, one\n"
            "`host` or `host:port` per line.",
        ),
        "serializer": _Kind(
            "Serializer {name} for braft: msgpack with a checksum.",
            "`BRAFT_SERIALIZER={name}` writes commands with it. Install it on every node before\n"
            "the first one uses it, and keep it as long as a log holds what it wrote.",
        ),
        "service": _Kind(
            "Service {name} for braft: counters that never fall below zero.",
            "`BRAFT_SERVICES=kv,{name}` on every node adds the service:\n"
            '`node.execute("{name}", "add", "key", 1)`.',
        ),
        "transport": _Kind(
            "Transport {name} for braft: gRPC with a count of messages.",
            "`BRAFT_TRANSPORT={name}`, the same on every node.",
        ),
        "storage": _Kind(
            "Store {name} for braft: SQLite that measures its slowest write.",
            "`BRAFT_STORAGE={name}` keeps this node's log in it.",
        ),
        "http": _Kind(
            "HTTP route for braft: GET /plugins/{name}.",
            "Every node with this plugin answers `GET /plugins/{name}` on its HTTP port.",
        ),
        "cli": _Kind(
            "Command for braft: braft {name}.",
            "`braft {name} --url http://127.0.0.1:15002` shows the leader.",
        ),
        "observer": _Kind(
            "Observer {name} for braft: logs changes of the leader.",
            "Every node with this plugin logs changes of the leader.",
        ),
    }
)

#: The file that each template becomes; both may contain ``{kind}`` and ``$module``.
_PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "common/pyproject.toml.tmpl": "pyproject.toml",
        "common/README.md.tmpl": "README.md",
        "common/gitignore.tmpl": ".gitignore",
        "common/test.yml.tmpl": ".github/workflows/test.yml",
        "{kind}/module.py.tmpl": "src/$module/__init__.py",
        "{kind}/test_plugin.py.tmpl": "tests/test_$module.py",
    }
)


class Made(NamedTuple):
    """The new distribution: its folder, names and files."""

    folder: Path
    distribution: str
    module: str
    files: tuple[str, ...]


def make_plugin(name: str, kind: str, folder: Path | None = None) -> Made:
    """Write a new distribution.

    :param name: the plugin's name, by which settings select it.
    :param folder: where to write it; default: a folder named after the distribution, in the
        working directory.
    :raises ConfigError: the name or kind is not valid, or the folder is not empty. Nothing was
        written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"plugin name {name!r}; accepted: a lower-case word such as lab or lab-2",
            setting="name",
            value=name,
        )
    if kind not in KINDS:
        raise ConfigError(
            f"kind of plugin {kind!r}; accepted: {', '.join(KINDS)}", setting="kind", value=kind
        )
    names = _names(name, kind)
    target = folder or Path(names["distribution"])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} exists already; accepted: a folder that is new or empty",
            setting="folder",
            value=str(target),
        )
    written = {
        Template(place).substitute(names): _filled(template.format(kind=kind), names)
        for template, place in _PLACES.items()
    }
    written[f"src/{names['module']}/py.typed"] = ""
    for path, text in written.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
    return Made(target, names["distribution"], names["module"], tuple(sorted(written)))


def _filled(template: str, names: Mapping[str, str]) -> str:
    source = files("braft_core.cli.scaffold") / "templates" / template
    return Template(source.read_text(encoding="utf-8")).substitute(names)


def _names(name: str, kind: str) -> dict[str, str]:
    major, minor, *_ = _core_version().split(".")
    versions = f">={major}.{minor},<{major}.{int(minor) + 1}"
    module = "braft_" + name.replace("-", "_")
    return {
        "name": name,
        "distribution": f"braft-{name}",
        "module": module,
        "Class": "".join(part.capitalize() for part in name.split("-")),
        "VARIABLE": name.replace("-", "_").upper(),
        "summary": KINDS[kind].summary.format(name=name),
        "usage": KINDS[kind].usage.format(name=name),
        "core": f"braft-core{versions}",
        "core_testing": f"braft-core[testing]{versions}",
        "tag": str(_FIRST_FREE_TAG + zlib.crc32(name.encode()) % (256 - _FIRST_FREE_TAG)),
    }


def _core_version() -> str:
    return version_of("braft-core") or _DEFAULT_VERSION  # which is that of a source tree
