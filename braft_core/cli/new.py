"""``braft new``: make a new plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braft_core.cli.options import AsJson
from braft_core.cli.output import echo, emit, reports_errors

__all__ = ["app"]

app = typer.Typer(help="Make a new plugin.")


@app.callback()
def new() -> None:
    """Make a new plugin."""


@app.command("plugin")
@reports_errors
def plugin(
    name: Annotated[str, typer.Argument(help="Its name: a lower-case word, such as lab.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="discovery, serializer, service, transport, storage, http, cli or observer.",
        ),
    ] = "discovery",
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to; default: ./braft-NAME.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a distribution with a plugin that works, its tests, a README and a CI file.

    JSON: folder, distribution, module, files.
    """
    from braft_core.cli.scaffold import make_plugin

    made = make_plugin(name, kind, folder)
    answer = {**made._asdict(), "folder": str(made.folder)}
    emit(as_json, answer, lambda: _tell(made.folder, made.files))


def _tell(folder: Path, files: tuple[str, ...]) -> None:
    for path in files:
        echo(f"  {folder / path}")
    echo(
        f"Next: cd {folder} && python -m venv .venv && . .venv/bin/activate && "
        'pip install --editable ".[test]" && python -m pytest'
    )
