"""The ``braft`` command line: Typer commands, one file per noun, without logic of their own.

A command turns arguments into one call of :class:`braft_core.client.Client` (or of the settings,
or of a node) and prints the answer, as text or with ``--json``. What takes long to import is
imported inside the commands, so that ``braft --help`` answers at once.
"""

from __future__ import annotations

from braft_core.cli.app import app, main

__all__ = ["app", "main"]
