"""Read Python source into a syntax tree, for the tests that judge source."""

from __future__ import annotations

import ast
import gc

__all__ = ["parse"]


def parse(source: str) -> ast.Module:
    """Return the syntax tree of ``source``.

    No garbage is collected meanwhile. Before CPython 3.11.8 and 3.12, ``ast.parse`` fails with
    SystemError if another one runs within it (cpython issue 106905). A collection may start one:
    asyncio logs the exception that nobody retrieved from a task, and each traceback is parsed.

    :raises SyntaxError: it is no Python.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if enabled:
            gc.enable()
