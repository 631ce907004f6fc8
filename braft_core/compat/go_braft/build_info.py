"""The application's version, build time and commit, as ``GET /raft`` shows them.

The Go original links them into the program. Here the first of these sources counts, for each value:

1. the settings ``BRAFT_APP_VERSION``, ``BRAFT_BUILD_TIME``, ``BRAFT_GIT_COMMIT``;
2. ``build-info.json`` in the package of the program, or beside its script: an object with the keys
   ``appVersion``, ``buildTime`` and ``gitCommit``, all optional;
3. the installed distribution of the program: its version, and its commit if it was installed from
   a repository (PEP 610);
4. for the commit, the git work tree that holds the program's source.

Reads files and starts no process. A source that cannot be read is skipped.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["BUILD_INFO_FILE", "BuildInfo", "Program", "find_build_info", "read_build_info"]

BUILD_INFO_FILE: Final = "build-info.json"
#: Longer values are cut.
_MAX_TEXT: Final = 200
#: Larger files are not read.
_MAX_BYTES: Final = 64 << 10
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_REF: Final = re.compile(r"refs/[\w./+@#-]+")
#: Sources do not lie in these; a work tree around them is another project's.
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


class BuildInfo(NamedTuple):
    """What is known of the application; "" for what is not."""

    app_version: str = ""
    build_time: str = ""
    git_commit: str = ""

    def or_else(self, other: BuildInfo) -> BuildInfo:
        """Return these values, and those of ``other`` where they are empty."""
        return BuildInfo(*(mine or its for mine, its in zip(self, other, strict=True)))


class Program(NamedTuple):
    """The program that runs in this process."""

    #: Where its source is.
    folder: Path | None
    distribution: metadata.Distribution | None


@functools.cache
def find_build_info() -> BuildInfo:
    """Return what is known of the program of this process."""
    return read_build_info(_this_program())


def read_build_info(program: Program) -> BuildInfo:
    """Return what is known of a program."""
    found = _from_file(program.folder).or_else(_from_distribution(program.distribution))
    if not found.git_commit and program.folder is not None:
        found = found._replace(git_commit=_git_commit(program.folder))
    return found


# ------------------------------------------------------------------------------- the program


def _this_program() -> Program:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        package = str(spec.name).partition(".")[0]
        return Program(_folder_of(package), _distribution_of(package))
    file = getattr(main, "__file__", None)
    if file is None:  # an interactive interpreter
        return Program(None, None)
    path = Path(file)
    if path.suffix in ("", ".exe"):
        for script in metadata.entry_points(group="console_scripts", name=path.stem):
            return Program(_folder_of(script.module.partition(".")[0]), script.dist)
    return Program(path.absolute().parent, None)


def _folder_of(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _distribution_of(package: str) -> metadata.Distribution | None:
    """Return the distribution that has the name of its import package, if there is one."""
    try:
        return metadata.distribution(package)
    except (metadata.PackageNotFoundError, ValueError):
        return None


# ------------------------------------------------------------------------------- its sources


def _from_file(folder: Path | None) -> BuildInfo:
    found = _json_object(_read(folder / BUILD_INFO_FILE)) if folder is not None else {}
    return BuildInfo(*(_text(found.get(key)) for key in ("appVersion", "buildTime", "gitCommit")))


def _from_distribution(distribution: metadata.Distribution | None) -> BuildInfo:
    if distribution is None:
        return BuildInfo()
    # PEP 610: written by the installer for what does not come from an index.
    vcs = _json_object(distribution.read_text("direct_url.json") or "").get("vcs_info")
    commit = _text(vcs.get("commit_id")) if isinstance(vcs, dict) else ""
    revision = _text(vcs.get("requested_revision")) if isinstance(vcs, dict) else ""
    return BuildInfo(_text(distribution.version), "", _short(revision, commit))


def _git_commit(folder: Path) -> str:
    """Return branch and commit of the work tree that ``folder`` is in, as ``main-18f39a8``."""
    if not _INSTALLED.isdisjoint(folder.parts):
        return ""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_dir():
            return _head(git)
        if git.is_file():  # a linked work tree, or a submodule
            return _head(parent / _read(git).removeprefix("gitdir: ").strip())
    return ""


def _head(git: Path) -> str:
    head = _read(git / "HEAD").strip()
    ref = head.removeprefix("ref: ")
    if ref == head:
        return _short("", head)
    if not _REF.fullmatch(ref) or ".." in ref:
        return ""
    shared = git / (_read(git / "commondir").strip() or ".")
    commit = _read(shared / ref).strip() or _packed(_read(shared / "packed-refs"), ref)
    return _short(ref.removeprefix("refs/heads/"), commit)


def _packed(refs: str, ref: str) -> str:
    lines = (line.partition(" ") for line in refs.splitlines())
    return next((commit for commit, _, name in lines if name == ref), "")


def _short(branch: str, commit: str) -> str:
    if not _COMMIT.fullmatch(commit):
        return ""
    return f"{branch}-{commit[:7]}" if branch else commit[:7]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode()
    except (OSError, ValueError):
        return ""


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) and value.isprintable() else ""
