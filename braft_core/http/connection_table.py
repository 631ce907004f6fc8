"""The table of open connections: how many there may be, and which one is evicted for a new one.

Idle connections are evicted first, then those that send or read slowly; of each the oldest, and
those of the address with the most connections. A connection whose request is being processed is
never evicted, and their number is limited below the total. A new connection is protected for
:data:`PROTECTED_SECONDS`; while all are that young, further ones wait in the kernel's queue. Pure;
for one event loop. Times are monotonic seconds.
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

#: Bounds of the number of connections, whatever the limit of open files is.
MIN_CONNECTIONS: Final = 32
MAX_CONNECTIONS: Final = 4096
#: Seconds for which a new connection is not evicted.
PROTECTED_SECONDS: Final = 0.5


class Phase(IntEnum):
    """What a connection does. The first two can be evicted, in this order."""

    IDLE = 0
    TRANSFERRING = 1  # a request arrives, or an answer leaves
    PROCESSING = 2


class Limits(NamedTuple):
    """Limits of one server."""

    #: Connections.
    total: int
    #: Connections of one address.
    address: int
    #: Requests in processing.
    processing: int


def connection_limits(descriptors: int) -> Limits:
    """Return the limits for a process with this limit of open files.

    HTTP takes a quarter; the rest is for peers, the data directory and the program.
    """
    total = max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, descriptors // 4))
    return Limits(total, max(MIN_CONNECTIONS, total * 3 // 4), total // 2)


class _Address:
    """The connections of one address, by phase, oldest first."""

    __slots__ = ("count", "phases")

    def __init__(self) -> None:
        self.count = 0
        self.phases: tuple[dict[ConnectionSlot, None], ...] = ({}, {}, {})


class ConnectionSlot:
    """The entry of one connection."""

    __slots__ = ("_home", "_table", "address", "close", "gone", "phase", "since")

    def __init__(self, table: ConnectionTable, home: _Address, address: str, since: float) -> None:
        self._table = table
        self._home = home
        self.address = address
        self.since = since
        self.phase = Phase.TRANSFERRING
        #: Whether the connection has ended or was evicted.
        self.gone = False
        #: Closes the connection when it is evicted.
        self.close: Callable[[], None] = lambda: None

    def move(self, phase: Phase) -> None:
        """Record what the connection does now."""
        if phase is self.phase or self.gone:
            return
        phases = self._home.phases
        del phases[self.phase][self]
        phases[phase][self] = None
        self._table.processing += (phase is Phase.PROCESSING) - (self.phase is Phase.PROCESSING)
        self.phase = phase


class ConnectionTable:
    """The open connections of one server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.processing = 0
        self._count = 0
        self._addresses: dict[str, _Address] = {}

    def __len__(self) -> int:
        return self._count

    def slots(self) -> Iterator[ConnectionSlot]:
        """Return all entries."""
        homes = list(self._addresses.values())
        return iter([slot for home in homes for slots in home.phases for slot in slots])

    @property
    def is_full(self) -> bool:
        """Whether as many requests as allowed are in processing."""
        return self.processing >= self.limits.processing

    def admit(self, address: str, now: float) -> ConnectionSlot | None:
        """Add a new connection, evicting another if needed; ``None`` if there is no room yet."""
        home = self._addresses.get(address)
        if home is not None and home.count >= self.limits.address and not _evict([home], now):
            return None
        if self._count >= self.limits.total and not self.evict(now):
            return None
        # The evicted connection may have been the last of its address.
        home = self._addresses.setdefault(address, _Address())
        slot = ConnectionSlot(self, home, address, now)
        home.phases[slot.phase][slot] = None
        home.count += 1
        self._count += 1
        return slot

    def evict(self, now: float) -> bool:
        """Evict a connection; return ``False`` if none can be evicted."""
        return _evict(sorted(self._addresses.values(), key=lambda home: -home.count), now)

    def release(self, slot: ConnectionSlot) -> None:
        """Remove a connection that has ended. Idempotent."""
        if slot.gone:
            return
        slot.gone = True
        home = self._addresses[slot.address]
        del home.phases[slot.phase][slot]
        self.processing -= slot.phase is Phase.PROCESSING
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
                slot._table.release(slot)
                return True
    return False
