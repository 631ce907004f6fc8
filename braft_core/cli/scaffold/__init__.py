"""New plugins from templates: complete distributions that pass their own tests.

The templates are beside this module, in a folder for each kind and one for all kinds. A
``.tmpl`` file is a :class:`string.Template`.
"""

from __future__ import annotations

from braft_core.cli.scaffold.making import KINDS, Made, make_plugin

__all__ = ["KINDS", "Made", "make_plugin"]
