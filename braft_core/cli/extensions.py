"""Commands that plugins add (hook ``braft_register_cli``)."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from braft_core.errors import PluginConflict

__all__ = ["EXTENSIBLE", "ExtensibleGroup", "added_commands", "plugin_commands"]

#: Groups of braft to which plugins may add commands.
EXTENSIBLE = frozenset({"store"})


class ExtensibleGroup(TyperGroup):
    """A group of braft's own with the commands that plugins add to it.

    Plugins are loaded only for unknown commands and for ``--help``.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return braft's commands, then the plugins'."""
        own = list(super().list_commands(ctx))
        return [*own, *added_commands(str(self.name), taken=own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of braft, else one of a plugin."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or ctx.resilient_parsing:
            return own
        taken = super().list_commands(ctx)
        return added_commands(str(self.name), taken=taken).get(cmd_name)


def added_commands(group: str, taken: Sequence[str]) -> dict[str, Any]:
    """Return the commands that plugins add to a group of braft, by name.

    :param taken: the names of the group's own commands.
    :raises PluginConflict: a plugin claims one of them.
    """
    added = _load(True).get(group)
    found = dict(added.commands) if isinstance(added, TyperGroup) else {}
    _check_names(found, taken, f"{group} ")
    return found


def plugin_commands(taken: Sequence[str], *, tolerate: bool = False) -> dict[str, Any]:
    """Return the plugins' commands by name.

    Plugins register on a separate application, so that none can replace a command of braft. What
    they add to a group of braft is not among them, see :class:`ExtensibleGroup`.

    :param taken: the names of braft's commands.
    :param tolerate: skip plugins that do not load, for ``braft --help``.
    :raises PluginConflict: a plugin claims a name of ``taken``.
    """
    commands = {
        name: command
        for name, command in _load(tolerate).items()
        if name not in EXTENSIBLE or not isinstance(command, TyperGroup)
    }
    _check_names(commands, taken)
    return commands


def _check_names(commands: Iterable[str], taken: Sequence[str], group: str = "") -> None:
    for name in commands:
        if name in taken:
            raise PluginConflict(
                f"a plugin adds the command {group + name!r}, which is braft's own",
                kind="cli",
                name=group + name,
            )


@functools.cache
def _load(tolerate: bool) -> dict[str, Any]:
    from typer.main import get_group

    from braft_core.plugin.manager import DISABLE_VARIABLE, Plugins

    # The environment alone, not braft.toml: reading all settings would double the time of --help.
    disabled = [name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")]
    extra = typer.Typer()
    Plugins.load(filter(None, disabled), tolerate=tolerate).extend_cli(extra)
    return dict(get_group(extra).commands)
