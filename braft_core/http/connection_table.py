"""Which connections there are, how many there may be, and which one goes when there is no room.

A new connection is never turned away for one that is idle or sends or reads slowly: those give way,
idle ones first, the oldest first, those of the address that has the most first. Only requests that
the node works on keep their place, and there are always fewer of them than connections. Each has a
moment to say what it wants; while all are that young, new ones wait with the kernel. Pure; on one
event loop. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = [
    "MAX_CONNECTIONS",
    "MIN_CONNECTIONS",
    "PROTECTED_SECONDS",
    "ConnectionSlot",
    "ConnectionTable",
    "Limits",
    "Phase",
    "connection_limits",
]

#: Connections that a node serves however few descriptors it may have, and however many.
MIN_CONNECTIONS: Final = 32
MAX_CONNECTIONS: Final = 4096
#: Seconds for which a new connection keeps its place.
PROTECTED_SECONDS: Final = 0.5


class Phase(IntEnum):
    """What a connection does. The first two give way to new ones, in this order."""

    IDLE = 0
    TRANSFERRING = 1  # a request arrives, or an answer leaves
    PROCESSING = 2


class Limits(NamedTuple):
    """How many there may be of what."""

    #: Connections.
    total: int
    #: Connections of one address.
    address: int
    #: Requests that the node works on.
    working: int


def connection_limits(descriptors: int) -> Limits:
    """Return the limits of a process that may have so many open files.

    A quarter of them is for HTTP; the rest is for peers, the data directory and the program.
    """
    total = max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, descriptors // 4))
    return Limits(total, max(MIN_CONNECTIONS, total * 3 // 4), total // 2)


class _Address:
    """The connections of one address, by phase, the oldest first."""

    __slots__ = ("count", "phases")

    def __init__(self) -> None:
        self.count = 0
        self.phases: tuple[dict[ConnectionSlot, None], ...] = ({}, {}, {})


class ConnectionSlot:
    """The place of one connection."""

    __slots__ = ("_home", "_table", "address", "close", "gone", "phase", "since")

    def __init__(self, table: ConnectionTable, home: _Address, address: str, since: float) -> None:
        self._table = table
        self._home = home
        self.address = address
        self.since = since
        self.phase = Phase.TRANSFERRING
        #: Whether the place was given to another connection.
        self.gone = False
        #: Ends the connection when another one needs the place.
        self.close: Callable[[], None] = lambda: None

    def move(self, phase: Phase) -> None:
        """Note what the connection does now."""
        if phase is self.phase or self.gone:
            return
        phases = self._home.phases
        del phases[self.phase][self]
        phases[phase][self] = None
        self._table.working += (phase is Phase.PROCESSING) - (self.phase is Phase.PROCESSING)
        self.phase = phase


class ConnectionTable:
    """All connections of one server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.working = 0
        self._count = 0
        self._addresses: dict[str, _Address] = {}

    def __len__(self) -> int:
        return self._count

    def slots(self) -> Iterator[ConnectionSlot]:
        """All connections there are now."""
        homes = list(self._addresses.values())
        return iter([slot for home in homes for slots in home.phases for slot in slots])

    @property
    def is_full(self) -> bool:
        """Whether the node works on as many requests as it may."""
        return self.working >= self.limits.working

    def admit(self, address: str, now: float) -> ConnectionSlot | None:
        """Return the place of a new connection, ``None`` if there is no room for it yet."""
        home = self._addresses.get(address)
        if home is not None and home.count >= self.limits.address and not _evict([home], now):
            return None
        if self._count >= self.limits.total and not self.evict(now):
            return None
        # Whoever gave way may have been the last of its address.
        home = self._addresses.setdefault(address, _Address())
        slot = ConnectionSlot(self, home, address, now)
        home.phases[slot.phase][slot] = None
        home.count += 1
        self._count += 1
        return slot

    def evict(self, now: float) -> bool:
        """End a connection that another one needs the place of; ``False`` if none can go."""
        return _evict(sorted(self._addresses.values(), key=lambda home: -home.count), now)

    def forget(self, slot: ConnectionSlot) -> None:
        """The connection has ended. Idempotent."""
        if slot.gone:
            return
        slot.gone = True
        home = self._addresses[slot.address]
        del home.phases[slot.phase][slot]
        self.working -= slot.phase is Phase.PROCESSING
        home.count -= 1
        self._count -= 1
        if not home.count:
            del self._addresses[slot.address]


def _evict(homes: Iterable[_Address], now: float) -> bool:
    for home in homes:
        for phase in (Phase.IDLE, Phase.TRANSFERRING):
            slot = next(iter(home.phases[phase]), None)
            if slot is not None and now - slot.since >= PROTECTED_SECONDS:
                slot.close()
                slot._table.forget(slot)
                return True
    return False
