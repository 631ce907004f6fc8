"""Escapes untrusted text for log lines, error messages and terminals.

Names of nodes and keys, and errors of peers, may contain control characters: a newline forges a log
line, ESC controls a terminal, a bidirectional override displays another text. Each such character
becomes its visible escape. Pure; stored values stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["printable", "printable_lines", "printable_values", "shown"]

#: Most characters of a value in an error message.
_SHOWN: Final = 120
#: Printable ASCII, of which nearly all texts consist.
_HARMLESS = re.compile(r"[ -~]*")
_PIECE = re.compile(r"[^\n\t]+")


def printable(text: str, limit: int = 0) -> str:
    r"""Return ``text`` with every character that is not printable escaped as in ``repr``.

    Escaped are control characters, line and paragraph separators, format characters such as
    bidirectional overrides and zero-width spaces, surrogates, and spaces other than U+0020.
    Idempotent. A backslash is not escaped, so the result is for people, not for parsers.

    :param limit: most characters of the result, the ellipsis included; 0 for no limit.
    """
    if limit and len(text) > limit:
        text = text[: limit - 3] + "..."
    if _HARMLESS.fullmatch(text) or text.isprintable():
        return text
    escaped = "".join(char if char.isprintable() else _escape(char) for char in text)
    return escaped[: limit - 3] + "..." if limit and len(escaped) > limit else escaped


def printable_lines(text: str) -> str:
    """Return ``text`` like :func:`printable`, but keep line ends and tabs; for tracebacks."""
    return _PIECE.sub(lambda piece: printable(piece[0]), text)


def printable_values(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the data of another node's error, with printable keys and strings."""
    return {
        printable(str(key)): printable(value) if isinstance(value, str) else value
        for key, value in data.items()
    }


def shown(value: object) -> str:
    """Return a value for an error message: its ``repr``, shortened, in one printable line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a caller's __repr__, or an int with too many digits
        text = f"a {type(value).__name__}"
    return printable(text, _SHOWN)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()
