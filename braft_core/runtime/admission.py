"""Admission to the leader's log: no command is appended that a member cannot execute.

A command is admitted if the members have agreed on what it needs and no member has declared since
that it lacks something. Otherwise the answer names the member and what it lacks.
"""

from __future__ import annotations

from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import BraftError, DecodeError, InvalidRequest, NotReady, NotSupported
from braft_core.raft import EMPTY_CONFIGURATION, Configuration
from braft_core.runtime.requests import Command, settle
from braft_core.services.capabilities import Capabilities, Need
from braft_core.services.cluster import ClusterService, is_agreement
from braft_core.services.envelope import read_need, routing_key
from braft_core.services.state_machine import StateMachine

__all__ = ["CommandAdmission"]

#: Routing keys that are remembered, at most.
_MAX_KEYS = 4096


class CommandAdmission:
    """Lives on the loop.

    :param member_capabilities: what the other members say of themselves.
    """

    def __init__(
        self,
        own_id: str,
        machine: StateMachine,
        cluster: ClusterService,
        member_capabilities: MemberCapabilities,
    ) -> None:
        self._own_id, self._machine = own_id, machine
        self._cluster, self._declarations = cluster, member_capabilities
        self._configuration: Configuration = EMPTY_CONFIGURATION
        #: The versions for which the cached keys are valid.
        self._basis = (-1, -1)
        self._admitted: set[bytes] = set()
        #: The errors of keys that are refused or wait.
        self._refusals: dict[bytes, BraftError] = {}
        #: What commands wait for, "" if none does.
        self.waiting = ""

    def admit(
        self, configuration: Configuration, commands: list[Command]
    ) -> tuple[list[Command], list[Command]]:
        """Return the commands that may be appended, and those that wait; answer the others."""
        basis = (self._cluster.agreed_index, self._declarations.version)
        if basis != self._basis or configuration is not self._configuration:
            self._admitted.clear()
            self._refusals.clear()
            self._basis, self._configuration = basis, configuration
        self.waiting = ""
        admitted = self._admitted
        if all(routing_key(command.data) in admitted for command in commands):
            return commands, []
        passed: list[Command] = []
        waiting: list[Command] = []
        for command in commands:
            error = self.refusal(command.data, command.need)
            if error is None:
                passed.append(command)
            elif isinstance(error, NotReady):
                self.waiting = error.message
                waiting.append(command)
            else:
                settle([(command, error)])
        return passed, waiting

    def refusal(self, data: bytes, need: Need | None = None) -> BraftError | None:
        """Return why the command may not be appended, or ``None``.

        ``NotReady`` passes by itself, once the members have declared themselves and agreed.

        :param need: what the command needs; ``None`` has it read from the data.
        """
        key = routing_key(data)
        if key is not None and key in self._admitted:
            return None
        if key is not None and key in self._refusals:
            return self._refusals[key]
        if is_agreement(data):
            return None
        try:
            if need is None:
                need = read_need(self._machine.serializers, data)
            else:  # read before the command had a session
                need = need._replace(format=data[0])
        except DecodeError as error:
            return InvalidRequest(f"the leader cannot read the command: {error.message}")
        refused = self._lacking(need) or self._not_agreed(need)
        if key is not None and len(self._admitted) + len(self._refusals) < _MAX_KEYS:
            if refused is None:
                self._admitted.add(key)
            else:
                self._refusals[key] = refused
        return refused

    def _lacking(self, need: Need) -> BraftError | None:
        for server in self._configuration.servers:
            declared = self._declared(server.id)
            lacks = declared.missing(need) if declared is not None else ""
            if lacks:
                return NotSupported(
                    f"{need.service}.{need.command} is refused: member {short_id(server.id)} at "
                    f"{server.address} lacks {lacks}. Every member must be able to execute a "
                    "command: upgrade that node or install what it lacks, or remove it from the "
                    "cluster",
                    member=server.id,
                    address=server.address,
                    lacks=lacks,
                )
        return None

    def _declared(self, server_id: str) -> Capabilities | None:
        own = server_id == self._own_id
        return self._machine.capabilities if own else self._declarations.of(server_id)

    def _not_agreed(self, need: Need) -> BraftError | None:
        lacks = self._cluster.agreed.missing(need)
        if not lacks:
            return None
        silent = [
            f"{short_id(server.id)} at {server.address}"
            for server in self._configuration.servers
            if self._declared(server.id) is None
        ]
        if silent:
            return NotReady(
                f"{need.service}.{need.command} has to wait: it needs {lacks}, and "
                f"{', '.join(silent)} has not said yet whether it knows that"
            )
        return NotReady(
            f"{need.service}.{need.command} has to wait: the members are agreeing that all of them "
            f"know {lacks}"
        )
