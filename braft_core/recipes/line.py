"""Lines of contenders: a key each under a common prefix, in the order of their creation.

The keys are those of etcd's client recipes: the prefix, a slash, and the id of the contender's
lease in hexadecimal digits. Who was there first has the first place. Pure.
"""

from __future__ import annotations

from typing import Final

from braft_core.errors import InvalidArgument

__all__ = ["ROOT", "contender_key", "line_of"]

#: Keys of recipes begin so.
ROOT: Final = "_braft/"
#: Bytes of a name in UTF-8.
_MAX_NAME: Final = 512


def line_of(kind: str, name: str) -> bytes:
    """Return the prefix of the keys of a recipe: ``_braft/KIND/NAME/``.

    A slash in a name is written as ``%2F``: the line ``a`` has no keys of the line ``a/b``.

    :raises InvalidArgument: the name is not accepted.
    """
    if isinstance(name, str):
        try:
            encoded = name.encode()
        except UnicodeEncodeError:
            encoded = b""
        if 0 < len(encoded) <= _MAX_NAME:
            escaped = encoded.replace(b"%", b"%25").replace(b"/", b"%2F")
            return f"{ROOT}{kind}/".encode() + escaped + b"/"
    raise InvalidArgument(
        f"the name for {kind} is {name!r:.80}; accepted: text of 1 to {_MAX_NAME} bytes in UTF-8",
        name=f"{name!r:.80}",
    )


def contender_key(prefix: bytes, lease: int) -> bytes:
    """Return the key of a contender, by its lease."""
    return prefix + b"%x" % lease
