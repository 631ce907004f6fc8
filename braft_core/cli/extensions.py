"""Commands that plugins add (hook ``braft_register_cli``)."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import typer

from braft_core.errors import PluginConflict

__all__ = ["plugin_commands"]


def plugin_commands(taken: Sequence[str], *, tolerate: bool = False) -> dict[str, Any]:
    """Return the plugins' commands by name.

    Plugins register on a separate application, so that none can replace a command of braft.

    :param taken: the names of braft's commands.
    :param tolerate: skip plugins that do not load, for ``braft --help``.
    :raises PluginConflict: a plugin claims a name of ``taken``.
    """
    commands = _load(tolerate)
    for name in commands:
        if name in taken:
            raise PluginConflict(
                f"a plugin adds the command {name!r}, which is braft's own",
                kind="cli",
                name=name,
            )
    return commands


@functools.cache
def _load(tolerate: bool) -> dict[str, Any]:
    from typer.main import get_group

    from braft_core.plugin.manager import DISABLE_VARIABLE, Plugins

    # The environment alone, not braft.toml: reading all settings would double the time of --help.
    disabled = [name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")]
    extra = typer.Typer()
    Plugins.load(filter(None, disabled), tolerate=tolerate).extend_cli(extra)
    return dict(get_group(extra).commands)
