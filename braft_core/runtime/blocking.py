"""Mark threads that must not block on the node, such as that of the HTTP server's loop."""

from __future__ import annotations

import threading

__all__ = ["check_may_block", "forbid_blocking"]


class _Rule(threading.local):
    reason = ""


_rule = _Rule()


def forbid_blocking(reason: str) -> None:
    """Let :func:`check_may_block` fail on this thread from now on.

    :param reason: the sentence of the error: which thread it is, and what to do instead.
    """
    _rule.reason = reason


def check_may_block() -> None:
    """Check that this thread may wait for the node.

    :raises RuntimeError: it runs an event loop that serves others, as that of the HTTP server.
    """
    if _rule.reason:
        raise RuntimeError(_rule.reason)
