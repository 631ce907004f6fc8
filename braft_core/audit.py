"""The audit log (logger ``braft.audit``): who changed the cluster, or copied its data.

It has a line for each membership change, leadership transfer, snapshot that is taken or downloaded,
and restore. Lines hold no secrets, and control characters are escaped.
"""

from __future__ import annotations

import logging

from braft_core.escaping import printable

__all__ = ["audit"]

_log = logging.getLogger("braft.audit")
#: Most characters of one field.
_MOST = 200


def audit(what: str, *, by: str, **facts: object) -> None:
    """Log the action ``what``.

    :param by: the actor: an address and a role, a server's id, or this machine's user.
    :param facts: further fields, such as the target and the index in the log.
    """
    parts = {"by": by, **facts}
    fields = " ".join(f"{key}={printable(str(value), _MOST)!r}" for key, value in parts.items())
    _log.info("%s %s", printable(what, _MOST), fields)
