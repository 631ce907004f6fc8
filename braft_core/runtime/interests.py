"""Which watchers an event is for: found without asking each of them.

A single key and a prefix are looked up in dictionaries, whatever their number. Other ranges are
compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Interests", "Span"]

_T = TypeVar("_T")

#: As the end of a range: all keys from its begin on.
_ALL = b"\0"


class Span(NamedTuple):
    """A key (without an end), or the keys from one to before another."""

    key: bytes
    end: bytes

    def has(self, key: bytes) -> bool:
        """Return whether a key is one of them."""
        end = self.end
        if not end:
            return key == self.key
        return self.key <= key and (end == _ALL or key < end)

    @property
    def prefix(self) -> bytes | None:
        """What all keys of the range, and no other ones, begin with; ``None`` for other ranges."""
        key, end = self
        if end == _ALL:
            return b"" if key <= _ALL else None
        stem = key.rstrip(b"\xff")
        is_prefix = bool(stem) and end == stem[:-1] + bytes((stem[-1] + 1,))
        return key if is_prefix else None


class Interests(Generic[_T]):
    """Watchers by what they want. Each is here at most once. Not thread-safe."""

    def __init__(self) -> None:
        # Dictionaries as sets that keep the order, by which watchers are found.
        self._keys: dict[bytes, dict[_T, None]] = {}
        #: By length, then by prefix.
        self._prefixes: dict[int, dict[bytes, dict[_T, None]]] = {}
        self._ranges: dict[_T, Span] = {}

    def add(self, watcher: _T, span: Span) -> None:
        """Add a watcher."""
        if not span.end:
            self._keys.setdefault(span.key, {})[watcher] = None
        elif (prefix := span.prefix) is not None:
            self._prefixes.setdefault(len(prefix), {}).setdefault(prefix, {})[watcher] = None
        else:
            self._ranges[watcher] = span

    def remove(self, watcher: _T, span: Span) -> None:
        """Remove a watcher, if it is here."""
        if not span.end:
            _remove(self._keys, span.key, watcher)
        elif (prefix := span.prefix) is not None:
            table = self._prefixes.get(len(prefix), {})
            _remove(table, prefix, watcher)
            if not table:
                self._prefixes.pop(len(prefix), None)
        else:
            self._ranges.pop(watcher, None)

    def take(self, key: bytes) -> list[_T]:
        """Remove and return the watchers that want a key."""
        found = list(self._keys.pop(key, ()))
        for length, table in list(self._prefixes.items()):
            watchers = table.pop(key[:length], None) if length <= len(key) else None
            if watchers is not None:
                found += watchers
                if not table:
                    del self._prefixes[length]
        for watcher in [each for each, span in self._ranges.items() if span.has(key)]:
            del self._ranges[watcher]
            found.append(watcher)
        return found

    def __iter__(self) -> Iterator[_T]:
        for watchers in self._keys.values():
            yield from watchers
        for table in self._prefixes.values():
            for watchers in table.values():
                yield from watchers
        yield from self._ranges

    def clear(self) -> list[_T]:
        """Remove and return all watchers."""
        found = list(self)
        self._keys, self._prefixes, self._ranges = {}, {}, {}
        return found


def _remove(table: dict[bytes, dict[_T, None]], key: bytes, watcher: _T) -> None:
    watchers = table.get(key)
    if watchers is not None:
        watchers.pop(watcher, None)
        if not watchers:
            del table[key]
