"""Choose the three ports and the data directory of a node.

The rule keeps a node with its data. A node for which neither the Raft port nor the data
directory is set resumes the first default directory that holds data and is not in use. Without such
a directory it makes a new one. It never leaves its data because a port is taken: then it
refuses to start and names the port. Runs before anything else is started, in the caller's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from braft_core.config import Settings
from braft_core.errors import ConfigError, StorageLocked
from braft_core.identity import Ports, default_raft_ports, implied_ports, pick_ports, ports_are_free
from braft_core.runtime import clock
from braft_core.runtime.meta_keys import BOOTSTRAP_RECORD, CLUSTER_ID
from braft_core.runtime.timing import Timing

if TYPE_CHECKING:
    from braft_core.abc import Storage, StoredState

__all__ = ["MEMORY", "Location", "choose_location", "data_directory", "expected_ports"]

_log = logging.getLogger(__name__)

#: The data directory of a node that keeps nothing.
MEMORY = ":memory:"
_DEFAULT_PARENT = Path("braft-data")

MakeStorage = Callable[[Ports], "Storage"]


class Location(NamedTuple):
    """The ports of a node, and its open store."""

    ports: Ports
    storage: Storage
    stored: StoredState


def data_directory(settings: Settings, rport: int) -> Path | None:
    """Return where a node with this Raft port keeps its data; ``None`` if it keeps none."""
    if settings.data_dir == MEMORY:
        return None
    return Path(settings.data_dir or _DEFAULT_PARENT / str(rport))


def expected_ports(settings: Settings) -> Ports:
    """Return the ports that a node with these settings would wish for, whether free or not."""
    rport = settings.rport
    if _is_free_to_choose(settings):
        rport = next((port for port in default_raft_ports() if _default_holds_data(port)), rport)
    return implied_ports(rport, settings.dport, settings.hport)


def choose_location(
    settings: Settings, host: str, make_storage: MakeStorage, timing: Timing
) -> Location:
    """Choose the ports and open the store.

    :param host: address the node will listen on.
    :raises ConfigError: a port that was set is taken, or one that belongs to the data is.
    :raises StorageError: the data directory cannot be used.
    """
    search = _Search(settings, host, make_storage, timing)
    if not _is_free_to_choose(settings):
        return search.chosen()
    return search.resumed() or search.fresh()


def _is_free_to_choose(settings: Settings) -> bool:
    return settings.rport is None and not settings.data_dir


def _default_holds_data(rport: int) -> bool:
    # Here, since commands that only ask for the ports need no store.
    from braft_core.storage.directory import holds_data

    return holds_data(_DEFAULT_PARENT / str(rport))


def _is_blank(storage: Storage, stored: StoredState) -> bool:
    """Return whether the node of a store was never in a cluster, nor accepted to bootstrap one."""
    names = (CLUSTER_ID, BOOTSTRAP_RECORD)
    used = stored.entries or stored.hard_state.term or storage.snapshots.list()
    return not used and all(storage.get_meta(name) is None for name in names)


class _Search:
    """One search for ports and data directory."""

    def __init__(
        self, settings: Settings, host: str, make_storage: MakeStorage, timing: Timing
    ) -> None:
        self._settings, self._host, self._make = settings, host, make_storage
        self._timing = timing
        self._labels = {name: settings.label(name) for name in ("rport", "dport", "hport")}

    def chosen(self) -> Location:
        """Return what the settings say."""
        settings = self._settings
        ports = self._pick(settings.rport)
        if settings.rport == 0 and not settings.data_dir:
            _log.warning(
                "%s=0 takes another port at every start, and the data directory %s is named after "
                "it; set BRAFT_DATA_DIR to find the data again",
                self._labels["rport"],
                data_directory(settings, ports.raft),
            )
        storage = self._make(ports)
        return Location(ports, storage, storage.open())

    def resumed(self) -> Location | None:
        """Go on with the first default directory that holds data and is not in use.

        Those of no cluster come last: a start that lost a race for its port leaves one.
        """
        blank: list[int] = []
        for rport in default_raft_ports():
            if _default_holds_data(rport) and (place := self._resume(rport, blank)) is not None:
                return place
        for rport in blank:
            if (place := self._resume(rport)) is not None:
                return place
        return None

    def _resume(self, rport: int, leave_blank: list[int] | None = None) -> Location | None:
        directory = _DEFAULT_PARENT / str(rport)
        implied = implied_ports(rport, self._settings.dport, self._settings.hport)
        # Lock the directory before checking the ports. Once it is locked, a port that is taken does
        # not belong to a node of this directory.
        storage, stored = self._open(implied)
        if storage is None or stored is None:
            _log.info("%s is in use by another node", directory)
            return None
        blank = _is_blank(storage, stored)
        if blank and leave_blank is not None:
            storage.close()
            leave_blank.append(rport)
            return None
        try:
            return Location(self._pick(rport), storage, stored)
        except ConfigError as error:
            storage.close()
            if blank:
                _log.info("%s was in no cluster, and its ports are taken: left alone", directory)
                return None
            raise self._kept_out(directory, error) from error
        except BaseException:
            storage.close()
            raise

    def _kept_out(self, directory: Path, error: ConfigError) -> ConfigError:
        accepted = (
            f"free ports; or another one by {self._labels['dport']} or {self._labels['hport']}; "
            f"or, for a new node without this data, another {self._labels['rport']}"
        )
        said = error.message.partition("; accepted:")[0]
        return ConfigError(
            f"{said}; this node's data is in {directory}, which belongs to these ports; "
            f"accepted: {accepted}",
            setting=error.data.get("setting"),
            value=error.data.get("value"),
            accepted=accepted,
        )

    def fresh(self) -> Location:
        """Make a new default directory, at the first free ports."""
        after = 0
        while True:
            ports = self._pick(None, after)
            after = ports.raft
            if _default_holds_data(ports.raft):
                continue  # a node uses it, and listens somewhere else
            storage, stored = self._open(ports)
            if storage is None or stored is None:
                continue
            if ports.raft != default_raft_ports()[0]:
                where = data_directory(self._settings, ports.raft)
                _log.info("the default ports are taken: the new data directory is %s", where)
            return Location(ports, storage, stored)

    def _pick(self, rport: int | None, after: int = 0) -> Ports:
        dport, hport = self._settings.dport, self._settings.hport
        return pick_ports(rport, dport, hport, host=self._host, labels=self._labels, after=after)

    def _open(self, ports: Ports) -> tuple[Storage, StoredState] | tuple[None, None]:
        """Open the store of these ports, or return nothing if another node uses it."""
        storage = self._make(ports)
        deadline = clock.monotonic() + self._timing.lock_patience
        while True:
            try:
                return storage, storage.open()
            except StorageLocked:
                runs = not ports_are_free(ports, self._host)
                if runs or clock.monotonic() >= deadline:
                    return None, None
            time.sleep(self._timing.lock_poll)
