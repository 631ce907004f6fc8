"""``braft docs``: the documentation that is installed with braft.

A wheel holds README.md, CHANGELOG.md and docs/ in ``braft_core/_docs``, laid out as in the source
tree, so that links between pages work. A node that runs from a source tree reads that tree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from braft_core.cli.options import AsJson
from braft_core.cli.output import echo, emit, reports_errors, table
from braft_core.errors import ConfigError
from braft_core.escaping import printable_lines

__all__ = ["Page", "docs", "pages"]

#: The folder of this package: the pages are in it or beside it.
PACKAGE = Path(__file__).resolve().parents[1]
#: Pages beside docs/, by the name that the command takes.
_OUTSIDE = {"readme": "README.md", "changelog": "CHANGELOG.md"}


class Page(NamedTuple):
    """One page of the documentation."""

    name: str
    title: str
    path: Path


@reports_errors
def docs(
    name: Annotated[
        str | None, typer.Argument(metavar="[PAGE]", help="A page; default: list all pages.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a page of the documentation, or list the pages.

    JSON: pages, a list of name, title, path; or name, title, path, text.
    """
    found = {page.name: page for page in pages()}
    if name is None:
        rows = [page._asdict() | {"path": str(page.path)} for page in found.values()]
        emit(as_json, {"pages": rows}, lambda: _show_list(list(found.values())))
        return
    if name not in found:
        accepted = ", ".join(found) or "none, since the documentation is not installed here"
        raise ConfigError(f"there is no page {name!r}; accepted: {accepted}")
    page = found[name]
    text = page.path.read_text(encoding="utf-8")
    answer = page._asdict() | {"path": str(page.path), "text": text}
    emit(as_json, answer, lambda: _show_page(text))


def pages() -> list[Page]:
    """Return all pages, in the order of their names, the README first."""
    root = _root()
    return list(_found(root)) if root is not None else []


def _root() -> Path | None:
    """Return the folder that holds README.md and docs/; ``None`` if it does not exist."""
    for folder in (PACKAGE / "_docs", PACKAGE.parent):
        if (folder / "docs" / "getting-started.md").is_file():
            return folder
    return None


def _found(root: Path) -> Iterator[Page]:
    for name, file in _OUTSIDE.items():
        if (root / file).is_file():
            yield _page(name, root / file)
    folder = root / "docs"
    for path in sorted(folder.rglob("*.md")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        yield _page("index" if name == "README" else name.removesuffix("/README"), path)


def _page(name: str, path: Path) -> Page:
    with path.open(encoding="utf-8") as file:
        return Page(name, file.readline().lstrip("# ").strip(), path)


def _show_list(found: list[Page]) -> None:
    table(["PAGE", "TITLE"], [(page.name, page.title) for page in found])
    if found:
        echo("", f"braft docs PAGE shows one. The files: {found[0].path.parent.as_uri()}")


def _show_page(text: str) -> None:
    if not sys.stdout.isatty():
        typer.echo(printable_lines(text))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
