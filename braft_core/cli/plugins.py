"""``braft plugins``: what is installed and what it provides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from braft_core.cli.options import AsJson
from braft_core.cli.output import Exit, emit, reports_errors, table

if TYPE_CHECKING:
    from braft_core.config import Settings
    from braft_core.plugin.registry import Registry

__all__ = ["cautions", "plugins"]


@reports_errors
def plugins(as_json: AsJson = False) -> None:
    """List what can be chosen by name and the distributions that provide it.

    Exit code 1 if one cannot be loaded.

    JSON: plugins, a list of name, kind, distribution, version, in_use (by a node with the present
    settings); disabled, names; failures and cautions, messages.
    """
    from braft_core.config import Settings
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.registry import Registry
    from braft_core.runtime.assembly import in_use

    settings = Settings.load()
    loaded = Plugins.load(settings.plugins_disable, tolerate=True)
    registry = Registry(loaded)
    used = in_use(settings, registry)
    rows = [
        {**provider._asdict(), "in_use": (provider.kind, provider.name) in used}
        for provider in registry.describe()
    ]
    answer = {
        "plugins": rows,
        "disabled": [info.name for info in loaded.disabled],
        "failures": [failure.message for failure in loaded.failures],
        "cautions": cautions(settings, registry),
    }
    emit(as_json, answer, lambda: _show(answer))
    if loaded.failures:
        raise typer.Exit(Exit.REFUSED)


def cautions(settings: Settings, registry: Registry) -> list[str]:
    """What a node with these settings lacks, because of the transport that was chosen."""
    name = settings.transport
    if name not in registry.names("transport"):
        return []
    caution = registry.get("transport", name).caution
    return [f"transport {name}: {caution}"] if caution else []


def _show(answer: dict[str, Any]) -> None:
    columns = ["kind", "name", "distribution", "version"]
    rows = [
        [*(row[column] for column in columns), "in use" if row["in_use"] else ""]
        for row in answer["plugins"]
    ]
    table([*(column.upper() for column in columns), ""], rows)
    for name in answer["disabled"]:
        typer.echo(f"disabled: {name}")
    for message in answer["cautions"]:
        typer.echo(message)
    for message in answer["failures"]:
        typer.echo(message, err=True)
