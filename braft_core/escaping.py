"""Text from outside, made safe to show: in log lines, error messages and on terminals.

Whoever names a node, a key or an error may put control characters into the name: a newline forges
a log line, ESC drives a terminal, a bidirectional override shows another text than there is. Here
each such character becomes its escape, visible and without effect. Pure; changes no value that is
stored or compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["printable", "printable_lines", "printable_values", "shown"]

#: Longest text that an error message shows of a value.
_SHOWN: Final = 120
#: ASCII without its controls: what nearly every text consists of.
_HARMLESS = re.compile(r"[ -~]*")
_PIECE = re.compile(r"[^\n\t]+")


def printable(text: str, limit: int = 0) -> str:
    r"""Return ``text`` with every character that is not printable as its escape, as in ``repr``.

    Escaped are controls and ESC, line and paragraph separators, format characters such as
    bidirectional overrides and zero-width spaces, surrogates, and blanks that look like a space
    and are none. Idempotent. A backslash stays one, so the result is for people, not for parsers.

    :param limit: longest result in characters, the ellipsis included; 0 for any.
    """
    if limit and len(text) > limit:
        text = text[: limit - 3] + "..."
    if _HARMLESS.fullmatch(text) or text.isprintable():
        return text
    escaped = "".join(char if char.isprintable() else _escape(char) for char in text)
    return escaped[: limit - 3] + "..." if limit and len(escaped) > limit else escaped


def printable_lines(text: str) -> str:
    """Return ``text`` as :func:`printable` does, but keep line ends and tabs: of a traceback."""
    return _PIECE.sub(lambda piece: printable(piece[0]), text)


def printable_values(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the facts of an error that another node sent, with printable keys and texts."""
    return {
        printable(str(key)): printable(value) if isinstance(value, str) else value
        for key, value in data.items()
    }


def shown(value: object) -> str:
    """Return how an error message shows a value: its ``repr``, short, in one printable line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - an object of the caller's, or an int of too many digits
        text = f"a {type(value).__name__}"
    return printable(text, _SHOWN)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()
