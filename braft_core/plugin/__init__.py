"""Plugins of braft: how one is written, and the names that plugins import.

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

and its distribution names the module in the entry-point group ``braft``::

    [project.entry-points.braft]
    lab = "braft_lab"

After ``pip install`` the new scheme is there: ``BRAFT_DISCOVERY=lab:a+b+c``. There are two kinds of
hooks: ``braft_register_<kind>`` hands braft something to use, ``braft_on_<event>`` is told about
something that happened. Hooks are plain functions; asynchronous work belongs to the objects that
braft makes of the registered classes.

A plugin that uses a hook, or a parameter, that older versions of braft do not have says so by one
line, ``BRAFT_HOOKS = 2`` for :data:`HOOKS_VERSION` 2. An older braft then asks for its own upgrade
instead of calling the new hook a misspelt one. Without the line the plugin asks for nothing.

This module must not import the loader: a plugin pays for nothing but these names.
"""

from __future__ import annotations

from typing import Final

import pluggy

__all__ = ["HOOKS_VERSION", "NAME", "hookimpl"]

#: The pluggy project name, and the entry-point group in which plugins are found.
NAME: Final = "braft"

#: The version of the hook set: raised by one in each release that adds a hook or a parameter.
HOOKS_VERSION: Final = 2

#: Marks a function as the implementation of the hook of the same name.
hookimpl: Final = pluggy.HookimplMarker(NAME)
