"""How to write a plugin, and the names that plugins import.

A plugin is a module that implements some of the hooks of :mod:`braft_core.plugin.specs`::

    from braft_core.abc import Contact, Discovery
    from braft_core.plugin import hookimpl


    class Lab(Discovery):
        name = "lab"

        async def discover(self) -> list[Contact]:
            return [Contact(host, 15000, self.name) for host in self.spec.split("+")]


    @hookimpl
    def braft_register_discovery() -> type[Discovery]:
        return Lab

Its distribution names the module in the entry-point group ``braft``::

    [project.entry-points.braft]
    lab = "braft_lab"

After ``pip install`` the new scheme works: ``BRAFT_DISCOVERY=lab:a+b+c``. There are two kinds of
hooks: ``braft_register_<kind>`` provides classes for braft to use, ``braft_on_<event>`` observes an
event. Hooks are plain functions; asynchronous work belongs to the objects that braft makes from the
registered classes.

A plugin that uses a hook or a parameter of hook-set version 3 declares ``BRAFT_HOOKS = 3``; see
:data:`HOOKS_VERSION`. An older braft then reports that it must be upgraded, instead of a misspelt
hook. Without the declaration the plugin works with every version.

This module must not import the loader, so that a plugin's import stays cheap.
"""

from __future__ import annotations

from typing import Final

import pluggy

__all__ = ["HOOKS_VERSION", "NAME", "hookimpl"]

#: The pluggy project name, and the entry-point group in which plugins are found.
NAME: Final = "braft"

#: The version of the hook set. Each release that adds a hook or a parameter increments it.
HOOKS_VERSION: Final = 3

#: Marks a function as the implementation of the hook of the same name.
hookimpl: Final = pluggy.HookimplMarker(NAME)
