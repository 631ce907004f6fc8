"""The record of voters that were removed as dead."""

from __future__ import annotations

from typing import Any

import pytest

from braft_core.errors import DecodeError
from braft_core.services.members import MembersService


def table(*rows: list[Any]) -> MembersService:
    service = MembersService()
    service.load(rows)
    return service


A, B = [5, "a", "h:1", 3, "silent"], [9, "b", "h:2", 3, "silent"]


def test_a_forbidden_rejoin_keeps_the_record() -> None:
    service = table(A, B)
    assert service.forbid_rejoin("a") is True
    assert [(r.server_id, r.may_rejoin) for r in service.removed] == [("a", False), ("b", True)]
    assert service.forbid_rejoin("a") is True
    assert service.forbid_rejoin("c") is False


def test_a_forbidden_rejoin_survives_a_snapshot() -> None:
    service, other = table(A, B), MembersService()
    service.forbid_rejoin("b")
    other.restore(service.snapshot())
    assert other.removed == service.removed


def test_a_table_without_the_last_field_is_read() -> None:
    assert [record.may_rejoin for record in table(A, [*B, False]).removed] == [True, False]


@pytest.mark.parametrize("row", [A[:4], [*A, 1.5], [*A, None], [*A, True, True], "a"])
def test_what_is_no_record_is_refused(row: Any) -> None:
    with pytest.raises(DecodeError, match="not a table of removed voters"):
        table(row)
