"""Keys and values of the store as words of a command line, as lines for people, and in JSON.

A word is UTF-8, or the bytes that were typed. In JSON a field that is not UTF-8 is base64, and its
name is in ``base64``. For people it is written as Python writes bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from braft_core import strict_json
from braft_core.cli.output import echo, terminal_width
from braft_core.cli.streams import print_text
from braft_core.escaping import printable
from braft_core.store import Change, Entry

__all__ = [
    "change_json",
    "change_line",
    "entry_json",
    "fields",
    "key_line",
    "of_word",
    "print_cut",
    "print_entries",
    "print_value",
    "text_of",
]


def of_word(word: str) -> bytes:
    """Return the bytes of an argument. Python has bytes that are not text as lone surrogates."""
    return word.encode(errors="surrogateescape")


def text_of(data: bytes) -> str | None:
    """Return bytes as text, ``None`` if they are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def fields(**given: bytes) -> dict[str, Any]:
    """Return a JSON object of texts, and of bytes in base64, whose names are in ``base64``."""
    texts: Mapping[str, str | None] = {name: text_of(data) for name, data in given.items()}
    shown = {name: given[name] if text is None else text for name, text in texts.items()}
    return shown | {"base64": [name for name, text in texts.items() if text is None]}


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as a JSON object."""
    return fields(key=entry.key, value=entry.value) | {
        "revision": entry.revision,
        "created": entry.created,
        "version": entry.version,
        "lease": str(entry.lease),
    }


def change_json(change: Change, previous: bool) -> dict[str, Any]:
    """Return a change as a JSON object.

    :param previous: whether it has what was replaced, null for nothing.
    """
    before = None if change.previous is None else entry_json(change.previous)
    more = {"previous": before} if previous else {}
    return {"type": change.type} | entry_json(change.entry) | more


def change_line(change: Change, previous: bool) -> str:
    """Return a change as a line: revision, put or del, key, value, and what was replaced."""
    entry, before = change.entry, change.previous
    is_put = change.type == "put"
    cells = [str(change.revision), "put" if is_put else "del", key_line(entry.key)]
    cells += [_value(entry.value)] if is_put else []
    cells += [f"was {_value(before.value)}"] if previous and before is not None else []
    return "  ".join(cells)


def print_cut(line: str) -> None:
    """Print a line; on a terminal what does not fit is left out."""
    width, shown = terminal_width(), printable(line)
    echo(shown if not width or len(shown) <= width else f"{shown[: width - 1]}…")


def print_entries(entries: list[Entry], *, keys_only: bool = False) -> None:
    """Print a line for each entry: the key and, quoted, its value."""
    for entry in entries:
        key = key_line(entry.key)
        echo(key if keys_only else f"{key}\t{_value(entry.value)}")


def key_line(key: bytes) -> str:
    """Return a key for people, in one line."""
    text = text_of(key)
    return repr(key) if text is None else printable(text)


def _value(value: bytes) -> str:
    text = text_of(value)
    return f"<{len(value)} bytes>" if text is None else strict_json.dumps(text)


def print_value(value: bytes, *, raw: bool = False) -> None:
    """Print a value: text as a line, other bytes as they are; on a terminal escaped.

    :param raw: print the bytes and nothing else, also of text and on a terminal.
    """
    text = text_of(value)
    if raw or (text is None and not sys.stdout.isatty()):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    else:
        print_text(value.decode(errors="backslashreplace") if text is None else text)
