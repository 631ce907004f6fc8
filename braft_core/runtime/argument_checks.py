"""Check the arguments of callers and peers where they enter a node. Pure.

A wrong value that passes fails later, in the middle of other callers' requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from braft_core.addresses import check_member_id, check_server_id, parse_address
from braft_core.errors import DecodeError, InvalidRequest
from braft_core.escaping import shown

__all__ = [
    "MAX_SECONDS",
    "member_address",
    "member_id",
    "new_member_id",
    "peer_seconds",
    "seconds",
]

#: The longest wait, a week; longer ones, infinity among them, count as that.
MAX_SECONDS = 7 * 86_400.0

_T = TypeVar("_T")


def seconds(timeout: object, default: float) -> float:
    """Return a caller's timeout, or ``default`` for ``None``.

    :raises InvalidRequest: it is not a number above 0.
    """
    if timeout is None:
        return default
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    number: Any = timeout
    if not is_number or not number > 0:  # NaN compares as false
        raise _refused("timeout", timeout, "seconds, a number above 0")
    return float(min(number, MAX_SECONDS))


def peer_seconds(milliseconds: int) -> float:
    """Return a timeout that another node sent."""
    return min(max(milliseconds, 0) / 1000, MAX_SECONDS)


def new_member_id(server_id: object) -> str:
    """Return the id of a server to be added. :raises InvalidRequest: it cannot be one."""
    return _checked(check_server_id, server_id)


def member_id(server_id: object, *, may_be_empty: bool = False) -> str:
    """Return the id of a server that may be a member. :raises InvalidRequest: it cannot be one."""
    if may_be_empty and server_id == "":
        return ""
    return _checked(check_member_id, server_id)


def member_address(address: object) -> str:
    """Return a server's address. :raises InvalidRequest: it is not ``host:port``."""
    return str(_checked(parse_address, address))


def _checked(check: Callable[[Any], _T], value: object) -> _T:
    try:
        return check(value)
    except DecodeError as error:
        raise InvalidRequest(error.message, **error.data) from error


def _refused(what: str, value: object, accepted: str) -> InvalidRequest:
    sentence = f"{what} is {shown(value)}; accepted: {accepted}"
    return InvalidRequest(sentence, value=shown(value), accepted=accepted)
