"""Decodes paths and query strings, and refuses those that are not UTF-8.

Keys of the store may be any bytes. In their paths, bytes that are not UTF-8 become lone surrogates,
as in Python's ``surrogateescape``; their queries are decoded by the resource.

A slash written as ``%2F`` is part of a name. Until routing it is replaced by :data:`ESCAPED_SLASH`,
a character that valid text cannot contain. Resources get names with plain slashes. Pure.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

from braft_core.http.problems import ESCAPED_SLASH, BadInput

__all__ = ["check_query_encoding", "decode_path", "restore_slashes"]

_KEY_ROUTE: Final = "/v1/kv/"
#: Slashes of ``/v1/kv/map/key``.
_KEY_SLASHES: Final = 4
_STORE_ROUTE: Final = "/v1/store/keys"
_STORE_KEYS: Final = f"{_STORE_ROUTE}/"


def decode_path(raw: bytes) -> str:
    """Return the path for routing, without a trailing slash unless it ends a key.

    :raises BadInput: the path is not UTF-8.
    """
    errors = "surrogateescape" if raw.startswith(_STORE_KEYS.encode()) else "strict"
    try:
        if b"%" in raw:
            parts = [unquote_to_bytes(part).decode(errors=errors) for part in raw.split(b"/")]
            path = "/".join([part.replace("/", ESCAPED_SLASH) for part in parts])
        else:
            path = raw.decode(errors=errors)
    except UnicodeDecodeError:
        raise BadInput("path", repr(raw)[1:80], "UTF-8") from None
    if path.endswith("/") and len(path) > 1 and not _is_key(path):
        return path.rstrip("/") or "/"
    return path


def check_query_encoding(query: bytes, path: str) -> None:
    """Check a query string.

    :raises BadInput: it is not UTF-8; for the store, where percent-encoded bytes may be any, if the
        others are not.
    """
    try:
        query.decode()
        if not path.startswith((_STORE_ROUTE, "/v1/store/count", "/v1/store/watch")):
            unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise BadInput("query string", repr(query)[1:80], "UTF-8") from None


def restore_slashes(params: dict[str, Any]) -> None:
    """Replace escaped slashes in path parameters by plain ones."""
    for name, value in params.items():
        if isinstance(value, str) and ESCAPED_SLASH in value:
            params[name] = value.replace(ESCAPED_SLASH, "/")


def _is_key(path: str) -> bool:
    if path.startswith(_STORE_KEYS):
        return len(path) > len(_STORE_KEYS)
    return path.startswith(_KEY_ROUTE) and path.count("/") > _KEY_SLASHES
