"""Test braft with the oldest versions that its distributions allow (`make lowest`).

Installs the lowest allowed versions of all `dependencies` of this tree into a separate environment.
Runs the demo there and the given tests, by default the unit tests that use the dependencies.
Indirect dependencies are the newest ones, as for all who install braft. Needs uv.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-lowest"
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
#: pip needs many minutes to resolve these versions.
UV = (sys.executable, "-m", "uv", "pip")
#: Tools of the tests must go with what they test; all others are as new as it gets.
BOUND = re.compile(r"grpcio-")
#: Needs newer versions of what it shares with braft than braft does.
LEFT_OUT = "schemathesis"
TESTS = [
    *(f"tests/unit/{name}" for name in ("config", "plugin", "transport", "http", "serializers")),
    "tests/unit/test_identity.py",
    *(f"plugins/braft_{name}/tests" for name in ("static", "serializers")),
]


def _floor(requirement: str) -> tuple[str, str] | None:
    """Name and lowest version of a requirement; nothing for one without a lower bound."""
    found = re.match(r"([A-Za-z0-9._-]+)[^;>]*>=\s*([0-9][0-9a-z.]*)", requirement)
    return (found[1].lower(), found[2]) if found else None


def _document(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def _requirements() -> list[str]:
    return [r for project in PROJECTS for r in _document(project)["project"]["dependencies"]]


def _tools() -> list[str]:
    group = _document(ROOT)["dependency-groups"]["test"]
    return [tool for tool in group if not tool.startswith(LEFT_OUT)]


def floors(requirements: Iterable[str]) -> dict[str, str]:
    """Return the version to install of each distribution: the highest of its floors."""
    lowest: dict[str, str] = {}
    for name, version in filter(None, map(_floor, requirements)):
        if name.startswith("braft-"):
            continue
        if name not in lowest or _key(version) > _key(lowest[name]):
            lowest[name] = version
    return lowest


def _key(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def install(python: Path, wanted: dict[str, str]) -> None:
    """Make the environment unless it is up to date."""
    constraints = ENVIRONMENT / "constraints.txt"
    text = "".join(f"{name}=={version}\n" for name, version in sorted(wanted.items()))
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and constraints.read_text(encoding="utf-8") == text:
        return
    print(f"installing into {ENVIRONMENT.name}: {', '.join(text.split())}", flush=True)
    venv.create(ENVIRONMENT, clear=True)
    constraints.write_text(text, encoding="utf-8")
    editable = [word for project in PROJECTS for word in ("--editable", str(project))]
    at = ("--quiet", "--python", str(python), "--constraint", str(constraints))
    _run(*UV, "install", *at, *_tools(), *editable)
    _run(*UV, "check", "--python", str(python))
    stamp.touch()


def check(python: Path, wanted: dict[str, str]) -> None:
    """Check that the installed versions are the floors."""
    code = "import sys; from importlib.metadata import version as v; "
    code += "print(*(f'{n}=={v(n)}' for n in sys.argv[1:]), sep='\\n')"
    names = sorted(wanted)
    out = subprocess.run(
        [str(python), "-c", code, *names], capture_output=True, text=True, check=True
    )
    for line in out.stdout.split():
        name, _, version = line.partition("==")
        floor, found = _key(wanted[name]), _key(version)
        found += [0] * (len(floor) - len(found))
        if found[: len(floor)] != floor or any(found[len(floor) :]):
            sys.exit(f"{name} {version} is installed, not its floor {wanted[name]}")


def _ignored() -> Iterator[str]:
    """Yield pytest options to ignore tests that import what is left out."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        if re.search(rf"^\s*(import|from) {LEFT_OUT}\b", path.read_text(), re.MULTILINE):
            yield f"--ignore={path.relative_to(ROOT)}"


def main(arguments: list[str]) -> None:
    """Install, and run the demo and the tests."""
    python = ENVIRONMENT / "bin" / "python"
    wanted = floors([*_requirements(), *filter(BOUND.match, _tools())])
    install(python, wanted)
    check(python, wanted)
    _run(str(python), "-m", "braft_core", "demo", "--writes", "50")
    # Deprecation warnings about old versions are not our fault.
    workers = ("-W", "ignore::DeprecationWarning", "--numprocesses", "2", "--dist", "loadgroup")
    _run(str(python), "-m", "pytest", "-q", *workers, *_ignored(), *(arguments or TESTS))


if __name__ == "__main__":
    main(sys.argv[1:])
