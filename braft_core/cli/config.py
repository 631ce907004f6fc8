"""``braft config``: show the effective settings and where each comes from."""

from __future__ import annotations

from collections.abc import Sequence

from braft_core.cli.options import AsJson
from braft_core.cli.output import echo, emit, reports_errors, table
from braft_core.cli.plugins import cautions

__all__ = ["config"]


@reports_errors
def config(as_json: AsJson = False) -> None:
    """Show the settings that a node started here would have, and the options of its plugins.

    Exit code 2 if one is wrong.

    JSON: settings, a list of name, value, origin; cautions, messages.
    """
    from braft_core.cli.defaults import command_settings
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.option_values import OptionValues
    from braft_core.plugin.registry import Registry

    settings = command_settings()
    registry = Registry(Plugins.load(settings.plugins_disable, tolerate=True))
    rows = [*settings.rows(), *OptionValues(settings, registry).rows()]
    warned = cautions(settings, registry)
    listed = [row._asdict() for row in rows]
    emit(as_json, {"settings": listed, "cautions": warned}, lambda: _show(rows, warned))


def _show(rows: Sequence[tuple[str, str, str]], warned: list[str]) -> None:
    table(["NAME", "VALUE", "FROM"], rows)
    for message in warned:
        echo(message)
