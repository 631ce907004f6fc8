"""The error for bytes that are in order, and that this process cannot read nevertheless.

It is told apart because it is about the process: other nodes may read the same bytes, and a node
that answered with an error where others apply a command would have another state than they.
"""

from __future__ import annotations

from braft_core.errors import DecodeError

__all__ = ["NotKnownHere"]


class NotKnownHere(DecodeError):
    """A serializer, a command type or a version of one that is not installed here.

    Crosses the wire as what it is to everybody else, a :class:`DecodeError`.
    """
