"""The error for well-formed bytes that this process cannot decode.

It has its own type because other nodes may be able to decode the same bytes. A node that answered
with an error where others apply the command would end up with another state than theirs.
"""

from __future__ import annotations

from braft_core.errors import DecodeError

__all__ = ["UnsupportedEncoding"]


class UnsupportedEncoding(DecodeError):
    """A serializer, a command type or a version of one that is not installed here.

    Peers receive it as a plain :class:`DecodeError`.
    """
