"""``braft plugins``: list what is installed and what it provides; ``show`` explains one plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core.cli.options import AsJson
from braft_core.cli.output import Exit, echo, emit, reports_errors, table

if TYPE_CHECKING:
    from braft_core.config import Settings
    from braft_core.plugin.registry import Registry

__all__ = ["app", "cautions"]

app = typer.Typer(help="List and explain the installed plugins.")


@app.callback(invoke_without_command=True)
@reports_errors
def plugins(context: typer.Context, as_json: AsJson = False) -> None:
    """List what can be chosen by name and the distributions that provide it.

    Exit code 1 if one cannot be loaded. `braft plugins show NAME` explains one.

    JSON: plugins, a list of name, kind, distribution, version, plugin, in_use (by a node with the
    present settings); disabled, names; failures and cautions, messages.
    """
    if context.invoked_subcommand is not None:
        return
    from braft_core.cli.defaults import command_settings
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.registry import Registry
    from braft_core.runtime.components import in_use

    settings = command_settings()
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


@app.command("show")
@reports_errors
def show(
    name: Annotated[str, typer.Argument(help="A name from `braft plugins`, or a distribution's.")],
    as_json: AsJson = False,
) -> None:
    """Explain one plugin: what it provides, how it is chosen, its options and their values.

    Exit code 1 if it cannot be loaded, 2 if no plugin has that name.

    JSON: a list, one for each plugin that the name means: plugin, distribution, version, summary,
    links, hooks, disabled, failure; provides, a list of kind, name, choose, text, in_use; options,
    a list of option, variable, value, origin, meaning, accepts, default.
    """
    from braft_core.cli.explaining import explain, print_explained

    found = explain(name)
    emit(as_json, found, lambda: print_explained(found))
    if any(plugin["failure"] for plugin in found):
        raise typer.Exit(Exit.REFUSED)


def cautions(settings: Settings, registry: Registry) -> list[str]:
    """Return warnings about these settings: options that no plugin reads, limits of a transport."""
    from braft_core.plugin.option_values import OptionValues

    sentences = OptionValues(settings, registry).warnings()
    name = settings.transport
    if name in registry.names("transport") and (text := registry.get("transport", name).caution):
        sentences.append(f"transport {name}: {text}")
    return sentences


def _show(answer: dict[str, Any]) -> None:
    columns = ["kind", "name", "distribution", "version"]
    rows = [
        [*(row[column] for column in columns), "in use" if row["in_use"] else ""]
        for row in answer["plugins"]
    ]
    table([*(column.upper() for column in columns), ""], rows)
    for name in answer["disabled"]:
        echo(f"disabled: {name}")
    for message in answer["cautions"]:
        echo(message)
    for message in answer["failures"]:
        echo(*message.splitlines(), err=True)
