"""Inputs of the core with an answer: membership changes, barriers, transfers, local commands.

Each is queued as an input and returns a future of its outcome. Called on the loop.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

from braft_core.errors import BraftError, NotLeader, NotReady
from braft_core.raft import EntryType, Role
from braft_core.runtime.driver import Driver
from braft_core.runtime.requests import LocalCommand, Request, settle

__all__ = ["barrier", "change_membership", "propose_here", "transfer_leadership"]


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


def propose_here(driver: Driver, data: bytes, term: int, timeout: float) -> asyncio.Future[Any]:
    """Append a command as leader of ``term``; the future holds its answer once applied here.

    For what only the leader may say, such as how time passes. The command is never forwarded and
    never proposed again: the future then raises ``NotLeader``, and nothing was applied. Also if
    the members have not agreed on the command yet (``NotReady``).
    """
    command = LocalCommand(data, timeout, driver.loop)

    def act() -> None:
        core = driver.core
        if core.role is not Role.LEADER or core.current_term != term:
            settle([(command, NotLeader(f"this node does not lead in term {term} any more"))])
            return
        admitted, waiting = driver.admit(core.configuration, [command])
        settle((each, NotReady("the members have not agreed on it yet")) for each in waiting)
        if admitted:
            driver.append(admitted)

    driver.call(act, command)
    return command.awaitable


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
