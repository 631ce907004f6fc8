"""Pages of keys: what the service, HTTP, the client and Python agree on.

A page holds the keys behind one, in the order of their code points. It is a read of its own: a key
that is there all the while is in exactly one page, one that comes or goes meanwhile may be.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["DEFAULT_PAGE_SIZE", "MAX_PAGE_BYTES", "MAX_PAGE_SIZE", "Page"]

#: Keys of a page where the caller does not say, and where it does, at most.
DEFAULT_PAGE_SIZE: Final = 10_000
MAX_PAGE_SIZE: Final = 100_000
#: Bytes of keys and values after which a page ends, however many keys it was to have. Each may be a
#: value of its own: a page of 8 MiB could be as many lists, which is half a second for the garbage
#: collector alone.
MAX_PAGE_BYTES: Final = 2 << 20


class Page(NamedTuple):
    """Some keys of a map, in order."""

    items: dict[str, Any]
    #: The ``after`` of the next page; ``None`` behind the last key.
    next: str | None
