"""Pages of keys, as the service, HTTP, the client and Python handles use them.

A page holds the keys after a given one, in the order of their code points. Each page is a separate
read: a key that exists throughout is in exactly one page; one that is created or deleted meanwhile
may be missing.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["DEFAULT_PAGE_SIZE", "MAX_PAGE_BYTES", "MAX_PAGE_SIZE", "Page"]

#: Keys in a page by default, and at most.
DEFAULT_PAGE_SIZE: Final = 10_000
MAX_PAGE_SIZE: Final = 100_000
#: Bytes of keys and values after which a page ends, whatever its limit of keys. 8 MiB could be as
#: many small lists, which keep the garbage collector alone busy for half a second.
MAX_PAGE_BYTES: Final = 2 << 20


class Page(NamedTuple):
    """Some keys of a map, in order."""

    items: dict[str, Any]
    #: The ``after`` of the next page; ``None`` on the last page.
    next: str | None
