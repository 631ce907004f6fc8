"""Inputs of the core with an answer: membership changes, barriers, transfers.

Each is queued as an input and returns a future of its outcome. Called on the loop.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

from braft_core.errors import BraftError
from braft_core.raft import EntryType
from braft_core.runtime.driver import Driver
from braft_core.runtime.requests import Request, settle

__all__ = ["barrier", "change_membership", "transfer_leadership"]


def change_membership(
    driver: Driver, kind: str, server_id: str, address: str, timeout: float
) -> asyncio.Future[Any]:
    """Change the configuration; the future is done once that is committed and applied here."""
    request = Request(timeout, driver.loop)

    def act() -> None:
        try:
            index = driver.core.change_membership(kind, server_id, address)
        except BraftError as error:
            settle([(request, error)])
            return
        if index <= driver.core.commit_index:
            settle([(request, None)])
            return
        request.sent = True
        driver.wait_applied(index, driver.core.current_term, [request])

    driver.call(act, request)
    return request.awaitable


def barrier(driver: Driver, timeout: float) -> asyncio.Future[Any]:
    """Append a barrier; the future is done once everything before it is applied here."""
    request = Request(timeout, driver.loop)

    def act() -> None:
        try:
            first, term = driver.core.propose([b""], type=EntryType.BARRIER)
        except BraftError as error:
            settle([(request, error)])
            return
        request.sent = True
        driver.wait_applied(first, term, [request])

    driver.call(act, request)
    return request.awaitable


def transfer_leadership(driver: Driver, to: str) -> asyncio.Future[str]:
    """Begin a transfer; the future holds the successor's id (not yet that it has won)."""
    request = Request(inf, driver.loop)

    def act() -> None:
        try:
            settle([(request, driver.core.transfer_leadership(to))])
        except BraftError as error:
            settle([(request, error)])

    driver.call(act, request)
    return request.awaitable
