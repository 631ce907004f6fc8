"""Checks of what callers and peers hand to a node, where it comes in.

What passes here later meets code that fails in the middle of other callers' requests. Pure.
"""

from __future__ import annotations

from typing import Any

from braft_core.errors import InvalidRequest

__all__ = ["MAX_SECONDS", "member_address", "member_id", "peer_seconds", "seconds"]

#: The longest wait, a week; longer ones, infinity among them, count as that.
MAX_SECONDS = 7 * 86_400.0
_MAX_TEXT = 1024


def seconds(timeout: object, default: float) -> float:
    """Return a caller's timeout; ``None`` is the default, and less than 0 is over already.

    :raises InvalidRequest: it is no number.
    """
    if timeout is None:
        return default
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not is_number or timeout != timeout:  # which is so of NaN alone
        raise _refused("timeout", timeout, "seconds, as a number")
    number: Any = timeout
    return float(min(max(number, 0), MAX_SECONDS))


def peer_seconds(milliseconds: int) -> float:
    """Return a timeout that another node sent."""
    return min(max(milliseconds, 0) / 1000, MAX_SECONDS)


def member_id(server_id: object, *, may_be_empty: bool = False) -> str:
    """Return a server's id. :raises InvalidRequest: it cannot be one."""
    accepted = f"text of 1 to {_MAX_TEXT} bytes in valid UTF-8"
    if not isinstance(server_id, str) or not (_fits(server_id) or (may_be_empty and not server_id)):
        raise _refused("server id", server_id, accepted)
    return server_id


def member_address(address: object) -> str:
    """Return a server's address. :raises InvalidRequest: it is not ``host:port``."""
    if isinstance(address, str) and _fits(address):
        host, _, port = address.rpartition(":")
        is_port = port.isascii() and port.isdecimal() and len(port) <= 5
        if host and is_port and 0 < int(port) < 65536:
            return address
    raise _refused("address", address, "host:port of the server's Raft port")


def _fits(text: str) -> bool:
    try:
        return 0 < len(text.encode()) <= _MAX_TEXT
    except UnicodeEncodeError:
        return False


def _refused(what: str, value: object, accepted: str) -> InvalidRequest:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - an object of the caller's, or an int of too many digits
        shown = f"a {type(value).__name__}"
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    sentence = f"{what} is {shown}; accepted: {accepted}"
    return InvalidRequest(sentence, value=shown, accepted=accepted)
