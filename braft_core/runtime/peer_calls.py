"""Answer calls of other nodes: proposals, read indexes, membership changes, details."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from braft_core import strict_json
from braft_core.errors import (
    BraftError,
    DecodeError,
    InvalidRequest,
    NotLeader,
    NotReady,
    TooLarge,
)
from braft_core.peer import (
    AdminReply,
    ChangeMembershipRequest,
    DetailsReply,
    DetailsRequest,
    PeerReply,
    PeerRequest,
    ProposeReply,
    ProposeRequest,
    ReadIndexReply,
    ReadIndexRequest,
    TransferLeadershipRequest,
)
from braft_core.raft import Role, encode_configuration
from braft_core.runtime.admin import Admin
from braft_core.runtime.answer_codec import encoded
from braft_core.runtime.argument_checks import peer_seconds
from braft_core.runtime.driver import Driver
from braft_core.runtime.node_view import NodeView
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, IndexQuery, settle
from braft_core.services.capabilities import Need
from braft_core.services.envelope import LONG_COMMAND, SESSION_BYTES, read_need
from braft_core.services.state_machine import StateMachine

__all__ = ["PeerCallHandler"]


class _Server(Protocol):
    """What these calls need of the server."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    @property
    def admin(self) -> Admin:
        """Changes of membership and leadership."""

    def waiting(self) -> str:
        """Why there is no cluster or no leader yet."""

    @property
    def view(self) -> NodeView:
        """What the node says of itself."""


class PeerCallHandler:
    """Lives on the loop."""

    def __init__(self, server: _Server, max_command_bytes: int, machine: StateMachine) -> None:
        self._server, self._machine = server, machine
        self._max_command_bytes = max_command_bytes
        self._answers: dict[type, Callable[[Any], Awaitable[PeerReply]]] = {
            ProposeRequest: self._propose,
            ReadIndexRequest: self._read_index,
            ChangeMembershipRequest: self._change,
            TransferLeadershipRequest: self._transfer,
            DetailsRequest: self._details,
        }

    def handles(self, request: PeerRequest) -> bool:
        """Whether the request is one of these."""
        return type(request) in self._answers

    async def answer(self, request: PeerRequest) -> PeerReply:
        """Answer it. :raises BraftError: which travels back to the caller."""
        return await self._answers[type(request)](request)

    async def propose(self, data: bytes, timeout: float) -> Any:
        """Replicate one ready command, from wherever, and return its answer."""
        driver = self._driver()
        need = await self._check(data, known=True)
        command = Command(data, timeout, asyncio.get_running_loop(), need)
        driver.submit(command)
        return await command.awaitable

    async def _propose(self, request: ProposeRequest) -> ProposeReply:
        driver = self._leading()
        timeout = peer_seconds(request.timeout_ms)
        loop = asyncio.get_running_loop()
        commands = []
        for data in request.commands:
            try:
                command = Command(data, timeout, loop, await self._check(data))
            except (TooLarge, InvalidRequest) as error:
                command = Command(data, timeout, loop)
                settle([(command, error)])
            else:
                driver.submit(command)
            commands.append(command)
        answers = await asyncio.gather(
            *(command.awaitable for command in commands), return_exceptions=True
        )
        return ProposeReply(tuple([await _outcome(answer) for answer in answers]))

    async def _read_index(self, request: ReadIndexRequest) -> ReadIndexReply:
        driver = self._leading()
        query = IndexQuery(1.0, asyncio.get_running_loop())
        driver.submit(query)
        index = await query.awaitable
        return ReadIndexReply(index, driver.core.current_term)

    async def _change(self, request: ChangeMembershipRequest) -> AdminReply:
        driver = self._leading()
        timeout = peer_seconds(request.timeout_ms)
        await self._server.admin.by_hand(request.kind, request.server_id, request.address, timeout)
        return AdminReply(encode_configuration(driver.core.configuration), driver.core.leader)

    async def _transfer(self, request: TransferLeadershipRequest) -> AdminReply:
        driver = self._leading()
        leader = await self._server.admin.transfer(request.to, peer_seconds(request.timeout_ms))
        return AdminReply(encode_configuration(driver.core.configuration), leader)

    async def _details(self, request: DetailsRequest) -> DetailsReply:
        return DetailsReply(strict_json.encode(self._server.view.details(), anything=True))

    def _driver(self) -> Driver:
        replica = self._server.replica
        if replica is None:
            raise NotReady(self._server.waiting())
        return replica.driver

    def _leading(self) -> Driver:
        driver = self._driver()
        core = driver.core
        if core.role is not Role.LEADER:
            raise NotLeader(
                f"{core.server_id} does not lead; it knows the leader {core.leader or '(none)'}",
                leader=core.leader,
                term=core.current_term,
            )
        return driver

    async def _check(self, data: bytes, *, known: bool = False) -> Need | None:
        """Refuse a command that this node cannot read; return what it needs, if that was read.

        :param known: refuse also an unknown service or command, as ``check_known`` does.
        """
        if len(data) > self._max_command_bytes + SESSION_BYTES:
            raise TooLarge(
                f"a command has {len(data)} bytes; the limit here is {self._max_command_bytes}",
                size=len(data),
                limit=self._max_command_bytes,
            )
        read = partial(self._read, data, known=known)
        return await asyncio.to_thread(read) if len(data) > LONG_COMMAND else read()

    def _read(self, data: bytes, *, known: bool) -> Need | None:
        if known:
            return self._machine.check_known(data)
        self._machine.check_readable(data)
        if len(data) <= LONG_COMMAND:
            return None
        try:
            return read_need(self._machine.serializers, data)
        except DecodeError as error:
            raise InvalidRequest(error.message) from error


async def _outcome(answer: Any) -> bytes:
    if isinstance(answer, BaseException) and not isinstance(answer, BraftError):
        raise answer
    return await encoded(answer)
