"""Decodes HTTP responses into values or braft's errors.

Pure: takes status, headers and body of one response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import httpx

from braft_core.cluster_types import Leader, Member, SnapshotInfo, Suffrage
from braft_core.errors import BraftError, OutcomeUnknown, TooLarge, from_wire
from braft_core.escaping import printable, printable_values

__all__ = [
    "NOT_FOUND",
    "error_of",
    "facts",
    "leader_in",
    "members_in",
    "snapshot_in",
    "snapshots_in",
    "understood",
]

T = TypeVar("T")

#: The ``code`` of a plain 404: the route exists, but not what it names.
NOT_FOUND = "not_found"
#: Errors of decoding a response that is not a node's.
_DECODING_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def error_of(response: httpx.Response, *, write: bool) -> BraftError | None:
    """Return the error of a response, ``None`` for a success.

    A node answers errors with problem JSON. Anything else comes from a proxy, and then a failed
    write may have reached the node.
    """
    if response.is_success:
        return None
    problem = _problem(response)
    if problem is not None:
        data = problem.get("data")
        facts = printable_values(data) if isinstance(data, dict) else {}
        detail = printable(str(problem.get("detail", "")))
        error = from_wire(str(problem.get("code", "")), detail, facts)
        error.data.setdefault("status", response.status_code)
        error.data.setdefault("problem", str(problem.get("code", "")))
        return error
    return _foreign(response, write=write)


def understood(response: httpx.Response, take: Callable[[httpx.Response], T], *, write: bool) -> T:
    """Return what ``take`` extracts from a success.

    :raises BraftError: the response is not a node's, but a login page for instance.
    """
    try:
        return take(response)
    except _DECODING_ERRORS as error:
        raise _foreign(response, write=write) from error


def facts(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in the body.

    :raises TypeError: it is other JSON.
    :raises ValueError: it is not JSON.
    """
    body = response.json()
    if not isinstance(body, dict):
        raise TypeError("not a JSON object")
    return body


def members_in(response: httpx.Response) -> list[Member]:
    """Return the members in the body of ``/v1/members``."""
    return [_member(row) for row in facts(response)["members"]]


def leader_in(response: httpx.Response) -> Leader:
    """Return the leader in the body of ``/v1/leader``."""
    row = facts(response)
    return Leader(_typed(row, "id", str), _typed(row, "address", str))


def snapshots_in(response: httpx.Response) -> list[SnapshotInfo]:
    """Return the snapshots in the body of a GET of ``/v1/snapshots``."""
    return [_snapshot(row) for row in facts(response)["snapshots"]]


def snapshot_in(response: httpx.Response) -> SnapshotInfo:
    """Return the snapshot in the body of a POST to ``/v1/snapshots``."""
    return _snapshot(facts(response))


def _member(row: dict[str, Any]) -> Member:
    suffrage: Suffrage = row["suffrage"]
    if suffrage not in get_args(Suffrage):
        raise ValueError("not a suffrage")
    server_id, address = _typed(row, "id", str), _typed(row, "address", str)
    return Member(server_id, address, suffrage, _typed(row, "leader", bool))


def _snapshot(row: dict[str, Any]) -> SnapshotInfo:
    # A snapshot whose configuration cannot be read has no members.
    members = row.get("members", ())
    if not all(isinstance(member, str) for member in members):
        raise TypeError("not server ids")
    return SnapshotInfo(
        id=_typed(row, "id", str),
        index=_typed(row, "index", int),
        term=_typed(row, "term", int),
        size=_typed(row, "size", int),
        members=tuple(members),
    )


def _typed(row: dict[str, Any], key: str, kind: type[T]) -> T:
    value = row[key]
    if type(value) is not kind:
        raise TypeError(f"{key} is of another type")
    return value


def _foreign(response: httpx.Response, *, write: bool) -> BraftError:
    sentence = f"{response.url.netloc.decode()} answered {response.status_code}"
    sentence += f" {printable(response.reason_phrase)}, and not as a braft node does"
    if response.status_code == 413:
        return TooLarge(sentence, status=413)
    if write and not response.is_client_error:
        return OutcomeUnknown(sentence, status=response.status_code)
    return BraftError(sentence, status=response.status_code)


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/problem+json":
        return None
    try:
        problem = response.json()
    except (ValueError, RecursionError):  # not JSON, or nested too deeply
        return None
    return problem if isinstance(problem, dict) else None
