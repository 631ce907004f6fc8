"""The audit log: who changed the cluster, or took its data away. Logger ``braft.audit``.

One line each for changes of members and of the leadership, for snapshots taken, downloaded and
received, and for restores. Owns the form of the line. No secret is among its parts, and control
characters of others are escaped.
"""

from __future__ import annotations

import logging

from braft_core.escaping import printable

__all__ = ["audit"]

_log = logging.getLogger("braft.audit")
#: Characters of one part of a line.
_MOST = 200


def audit(what: str, *, by: str, **facts: object) -> None:
    """Log that ``what`` was done.

    :param by: who did it: an address and a role, a server's id, or this machine's user.
    :param facts: what it was done to, and its index in the log where it has one.
    """
    parts = {"by": by, **facts}
    told = " ".join(f"{key}={printable(str(value), _MOST)!r}" for key, value in parts.items())
    _log.info("%s %s", printable(what, _MOST), told)
