"""New plugins from templates: whole distributions that pass their own tests.

The templates lie beside this module, a folder for each kind and one for what all kinds have; a
``.tmpl`` file is a :class:`string.Template`.
"""

from __future__ import annotations

from braft_core.cli.scaffold.making import KINDS, Made, make_plugin

__all__ = ["KINDS", "Made", "make_plugin"]
