"""Pages agree with the code about options, variables, defaults and modules."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from braft_core.cli import app
from braft_core.cli.extensions import EXTENSIBLE, added_commands
from braft_core.config import Settings
from braft_core.config.durations import parse_duration
from braft_etcd.dropin.flags import FLAGS
from braft_testing.simulation.cli import _PARTS

_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_VARIABLE = re.compile(r"\b(BRAFT_[A-Z0-9_]*[A-Z0-9]|(?:MDNS|K8S)_[A-Z]+)(\b|(?=_\*))(_\*)?")
_GIVEN = re.compile(r"`(BRAFT_[A-Z_]+)` \((\d[^)]*)\)")
_MODULE = re.compile(r"\b(?:braft_core|braft_[a-z0-9]+)(?:\.[a-z_]\w*)+")
_SOURCE = re.compile(
    r"(?<![\w/.-])((?:braft_core|plugins|tests|benchmarks|examples|deploy)/[\w./-]+|\.ci/[\w-]+)"
)
_UNITS = {"minutes": "m", " s": "s", " h": "h", " minutes": "m"}
#: Options on pages that belong to other programs or to make's ARGS.
_FOREIGN = frozenset(
    "--all --dry-run --editable --file --from-file --no-deps --quiet --replicas --tag --wheel-dir "
    "--help --endpoints --user --data-dir --prefix --rev --command-timeout".split()
)
#: Options of the simulator whose names its parser computes.
_COMPUTED = frozenset(f"--{part}" for part in _PARTS)
#: etcd's, which braft-etcd takes.
_ETCD = frozenset(f"--{flag}" for flag in FLAGS)
#: Variables that pages invent or that other programs read.
_INVENTED = ("BRAFT_HOSTSFILE_", "BRAFT_LAB_", "BRAFT_COUNTER_", "BRAFT_CONSUL_LIKE_", "BRAFT_PORT")


@pytest.fixture(scope="session")
def pages(root: Path, tree: list[Path]) -> dict[Path, str]:
    """Return all pages for users and developers, without the changelog, which names old things."""
    found = [path for path in tree if path.suffix == ".md" and path.name != "CHANGELOG.md"]
    return {path: (root / path).read_text(encoding="utf-8") for path in found}


@cache
def _commands() -> dict[tuple[str, ...], frozenset[str]]:
    """Return the options of each command of ``braft``."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield words, command
        children = dict(getattr(command, "commands", {}))
        if words and words[-1] in EXTENSIBLE:
            children |= added_commands(words[-1], taken=list(children))
        for name, child in children.items():
            yield from below(child, (*words, name))

    return {
        words: frozenset(name for p in command.params for name in [*p.opts, *p.secondary_opts])
        | {"--help", "-h"}
        for words, command in below(typer.main.get_command(app), ())
    }


def wrong_options(text: str) -> Iterator[str]:
    """Yield the options in ``braft …`` of a page that the command does not have."""
    code = [body for _, body in _FENCE.findall(text)]
    code += re.findall(r"`(braft [^`]+)`", _FENCE.sub("", text))
    for line in "\n".join(code).splitlines():
        start = re.search(r"(?:^|[$;&|] |\bpython -m )(?:\w+=\S+ )*braft(?:_core)?(?= |$)", line)
        if start:
            yield from _wrong_in(line[start.end() :])


def _wrong_in(words: str) -> Iterator[str]:
    lexer = shlex.shlex(re.sub(r"[|;&<>#].*", "", words), posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.escape = ""
    lexer.quotes = ""
    given = list(lexer)
    path: tuple[str, ...] = ()
    while len(path) < len(given) and (*path, given[len(path)]) in _commands():
        path = (*path, given[len(path)])
    known = _commands()[path or ("run",)] | (_commands()[()] if not path else frozenset())
    for word in given:
        name = word.partition("=")[0]
        if _OPTION.fullmatch(name) and name not in known:
            yield f"braft {' '.join(path)}: {name}"


def test_every_option_of_a_braft_command_exists(pages: dict[Path, str]) -> None:
    assert [f"{page}: {w}" for page, text in pages.items() for w in wrong_options(text)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`braft --restart-min 30s`", ["braft : --restart-min"]),
        ("`braft kv list MAP --json --url …`", []),
        (
            "```console\n$ BRAFT_RPORT=1 braft kv put m k --stale | cat\n```",
            ["braft kv put: --stale"],
        ),
        ("```console\n$ braft run --rport 1\n```", []),
        ("`braft snapshot save x --force`, `--nothing`", []),
    ],
)
def test_a_wrong_option_is_seen(text: str, wrong: list[str]) -> None:
    assert list(wrong_options(text)) == wrong


def test_every_option_belongs_to_some_program(
    root: Path, tree: list[Path], pages: dict[Path, str]
) -> None:
    ours = {name for names in _commands().values() for name in names}
    sources = [path for path in tree if path.suffix == ".py" and path.parts[0] != "tests"]
    sources += [
        path for path in tree if path.match("tests/*/mutants/*.py") or path.name == "conftest.py"
    ]
    for path in sources:
        ours |= set(re.findall(r"[\"'](--[a-z][a-z-]+)[\"']", (root / path).read_text()))
    unknown = {
        f"{page}: {option}"
        for page, text in pages.items()
        for option in _OPTION.findall(text)
        if option not in ours | _FOREIGN | _COMPUTED | _ETCD
    }
    assert unknown == set()


@cache
def _variables(root: Path) -> frozenset[str]:
    settings = Settings.variables().values()
    known = {name for v in settings for name in (v.long, v.short) if name}
    for folder in ("braft_core", "plugins", "benchmarks", "tests"):
        for path in (root / folder).rglob("*.py"):
            known |= set(re.findall(r"[\"'](BRAFT_[A-Z0-9_]+)[\"']", path.read_text("utf-8")))
    return frozenset(known | set(_option_variables()))


def _option_variables() -> list[str]:
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.option_values import OptionValues
    from braft_core.plugin.registry import Registry

    registry = Registry(Plugins.load([], tolerate=True))
    rows = OptionValues(Settings.load(), registry).rows()
    options = [row.name.removeprefix("plugins.") for row in rows]
    return ["BRAFT_" + re.sub(r"\W", "_", option).upper() for option in options]


def test_every_variable_is_read_somewhere(root: Path, pages: dict[Path, str]) -> None:
    known = _variables(root)
    unknown = {
        f"{page}: {name}"
        for page, text in pages.items()
        for name, _, family in _VARIABLE.findall(text)
        if not name.startswith(_INVENTED)
        and not (any(k.startswith(f"{name}_") for k in known) if family else name in known)
    }
    assert unknown == set()


def test_defaults_in_the_text_are_the_defaults(pages: dict[Path, str]) -> None:
    names = {v.long: name for name, v in Settings.variables().items()}
    found = {
        (page, variable, given)
        for page, text in pages.items()
        for variable, given in _GIVEN.findall(text)
    }
    assert len(found) >= 6
    wrong = {
        (str(page), variable, given)
        for page, variable, given in found
        if _number(given) != float(Settings.model_fields[names[variable]].default)
    }
    assert wrong == set()


def _number(text: str) -> float:
    number, _, unit = text.replace(",", "").partition(" ")
    scale = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "MB": 10**6}
    if unit in scale:
        return float(number) * scale[unit]
    return parse_duration(number + unit[:1]) if unit else float(number)


def test_every_module_that_a_page_names_exists(pages: dict[Path, str]) -> None:
    wrong = {
        f"{page}: {name}"
        for page, text in pages.items()
        for name in _MODULE.findall(text)
        if name.split(".")[0] in _PACKAGES and not _exists(name)
    }
    assert wrong == set()


#: Files that readers of the manuals create, or that benchmarks write.
_MADE_BY_READERS = re.compile(
    r"^(?:(?:src/)?braft_(?:hello|hostsfile|lab)\b.*|tests/test_(?:plugin|braft_hostsfile)\.py"
    r"|benchmarks/results/|snapshots/|dist/|test_plugin\.py|utils\.py)$"
)

#: Packages of this tree; examples invent others.
_PACKAGES = (
    "braft_core", "braft_testing", "braft_static", "braft_mdns", "braft_k8s",
    "braft_serializers", "braft_tcp", "braft_etcd",
)  # fmt: skip


def _exists(dotted: str) -> bool:
    """Return whether a dotted name is a module or an attribute of one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.util.find_spec(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        if found is not None:
            thing: Any = importlib.import_module(".".join(parts[:end]))
            for name in parts[end:]:
                if not hasattr(thing, name):
                    return False
                thing = getattr(thing, name)
            return True
    return False


def test_every_file_that_a_page_names_exists(root: Path, pages: dict[Path, str]) -> None:
    wrong = {
        f"{page}: {path}"
        for page, text in pages.items()
        for path in _SOURCE.findall(re.sub(r"\]\([^)]*\)", "]", text))
        if not _MADE_BY_READERS.search(path) and not list(root.glob(f"{path.rstrip('./')}*"))
    }
    assert wrong == set()


def test_every_module_path_in_backticks_exists(tree: list[Path], pages: dict[Path, str]) -> None:
    files = [f"/{path.as_posix()}" for path in tree if path.suffix == ".py"]
    folders = {f"/{parent.as_posix()}/" for file in tree for parent in file.parents}
    wrong = {
        f"{page}: {name}"
        for page, text in pages.items()
        for name in re.findall(r"`((?:[a-z_]+/)*(?:[a-z_]+/|[a-z_]\w*\.py))`", _FENCE.sub("", text))
        if not any(path.endswith(f"/{name}") for path in (*files, *folders))
        and not _MADE_BY_READERS.search(name)
    }
    assert wrong == set()


def test_every_target_of_make_exists(root: Path, pages: dict[Path, str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    wrong = {
        f"{page}: make {target}"
        for page, text in pages.items()
        for target in re.findall(
            r"`make ([a-z-]+)|^make +([a-z-]+)(?= *(?:#.*)?$)", text, re.MULTILINE
        )
        if not set(filter(None, target)) <= targets
    }
    assert wrong == set()


def test_extras_that_pages_install_exist(root: Path, pages: dict[Path, str]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for text in pages.values()
        for group in re.findall(r"braft-core\[([a-z0-9,]+)\]", text)
        for extra in group.split(",")
    }
    assert named
    assert named <= set(project["optional-dependencies"])
