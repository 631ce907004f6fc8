"""Disaster recovery: a new cluster of one node, made from a snapshot file while nothing runs.

The result is a data directory: the snapshot with a configuration in which a new server is the only
voter, a log that begins after it, and a new cluster id. Members of the old cluster are rejected.
The directory is made under another name and renamed once all of it is verified and durable. No
directory that holds anything is touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from braft_core.abc import SnapshotStore, Storage, StorageOptions, WriteBatch
from braft_core.addresses import join_host_port
from braft_core.audit import audit
from braft_core.compat.go_braft.server_id import encode_server_id, new_raft_id
from braft_core.config import Settings
from braft_core.errors import ConfigError, StorageError
from braft_core.identity import implied_ports, new_cluster_id
from braft_core.plugin.manager import Plugins
from braft_core.plugin.option_values import OptionValues
from braft_core.plugin.registry import Registry
from braft_core.raft import Configuration, HardState, Server, SnapshotMeta
from braft_core.runtime.advertising import advertised_address
from braft_core.runtime.components import SERVER_ID
from braft_core.runtime.location import MEMORY
from braft_core.runtime.meta_keys import CLUSTER_ID
from braft_core.storage.directory import make_directories, sync_directory
from braft_core.storage.snapshot_file import open_file

__all__ = [
    "NewCluster",
    "Restored",
    "check_target",
    "make_data_dir",
    "new_cluster",
    "restore",
    "restore_into",
    "storage_maker",
]


class NewCluster(NamedTuple):
    """The one member of the cluster to be made."""

    server_id: str
    #: ``host:port`` to begin with. Once the node runs it tells where it really is.
    address: str
    cluster_id: str


class Restored(NamedTuple):
    """The result of a restore."""

    data_dir: Path
    new_cluster: NewCluster
    #: What the file says of itself: the members are those of the old cluster.
    snapshot: SnapshotMeta


def restore(
    source: Path, settings: Settings, progress: Callable[[int], object] = lambda size: None
) -> Restored:
    """Make the data directory that ``settings`` name from a snapshot file.

    :param progress: called with the bytes of contents written so far.
    :raises ConfigError: the settings name no directory on disk.
    :raises StorageCorrupt: the file is damaged, and where; nothing was made then.
    :raises StorageError: the directory exists and is not empty, or something cannot be written.
    """
    target = check_target(settings.data_dir)
    registry = Registry(Plugins.load(settings.plugins_disable))
    make_storage = storage_maker(settings, registry)
    made = restore_into(source, target, new_cluster(settings, registry), make_storage, progress)
    audit("restore", by=f"user {os.getuid()}", file=source, to=target, index=made.snapshot.index)
    return made


def storage_maker(settings: Settings, registry: Registry) -> Callable[[Path], Storage]:
    """Return what makes the storage that the settings choose, in a directory.

    :raises ConfigError: a setting is wrong.
    """
    storage_class = registry.get("storage", settings.storage)
    options = OptionValues(settings, registry).values(settings.storage)

    def make(directory: Path) -> Storage:
        return storage_class(StorageOptions(directory, options))

    return make


def new_cluster(settings: Settings, registry: Registry) -> NewCluster:
    """Return new ids for server and cluster, and the address that the settings imply.

    Unlike a start this does not check whether the ports are free.
    """
    ip = advertised_address(settings, registry)
    ports = implied_ports(settings.rport, settings.dport, settings.hport)
    server_id = encode_server_id(new_raft_id(ip, ports))
    return NewCluster(server_id, join_host_port(ip, ports.raft), new_cluster_id())


def check_target(data_dir: str | None) -> Path:
    """Return the path of the new directory.

    :raises ConfigError: no directory is named, or ``:memory:``.
    :raises StorageError: the directory is not empty.
    """
    if not data_dir or data_dir == MEMORY:
        raise ConfigError(
            f"data_dir is {data_dir!r}; accepted: a directory that does not exist or is empty"
        )
    target = Path(os.path.realpath(data_dir))
    try:
        found = sorted(os.listdir(target))
    except FileNotFoundError:
        return target
    except OSError as error:
        raise _failure(target, error) from error
    if found:
        raise StorageError(
            f"{target} is not empty: it holds {found[0]!r}. Restoring makes a new data directory "
            "and never changes one that is there; name one that does not exist or is empty",
            path=str(target),
        )
    return target


def restore_into(
    source: Path,
    target: Path,
    new_cluster: NewCluster,
    make_storage: Callable[[Path], Storage],
    progress: Callable[[int], object] = lambda size: None,
) -> Restored:
    """:func:`restore`, with everything given. ``target`` was checked."""
    meta, contents = open_file(source)
    try:
        make_data_dir(meta, contents, target, new_cluster, make_storage, progress)
    finally:
        contents.close()
    return Restored(target, new_cluster, meta)


def make_data_dir(
    meta: SnapshotMeta,
    contents: Iterable[bytes],
    target: Path,
    new_cluster: NewCluster,
    make_storage: Callable[[Path], Storage],
    progress: Callable[[int], object] = lambda size: None,
) -> None:
    """Make the data directory of the new cluster's only member.

    :param meta: index and term that the log begins after.
    :param contents: the state: what the state machine's ``snapshot`` writes.
    :param target: see :func:`check_target`.
    :raises StorageError: something cannot be written; nothing was made then. Errors of iterating
        ``contents`` pass through.
    """
    try:
        aside = _make_aside(target)
        try:
            _fill(make_storage(aside), meta, contents, new_cluster, progress)
            _publish(aside, target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise _failure(target, error) from error


def _fill(
    storage: Storage,
    meta: SnapshotMeta,
    contents: Iterable[bytes],
    new_cluster: NewCluster,
    progress: Callable[[int], object],
) -> None:
    """Write everything that a node reads when it starts."""
    storage.open()
    try:
        placed = _copy(storage.snapshots, meta, contents, new_cluster, progress)
        hard_state = HardState(meta.term, "")
        reset = (meta.index, meta.term)
        storage.write([WriteBatch(hard_state, reset=reset, snapshot=placed)])
        storage.set_meta(
            {SERVER_ID: new_cluster.server_id.encode(), CLUSTER_ID: new_cluster.cluster_id.encode()}
        )
    finally:
        storage.close()


def _copy(
    store: SnapshotStore,
    meta: SnapshotMeta,
    contents: Iterable[bytes],
    new_cluster: NewCluster,
    progress: Callable[[int], object],
) -> SnapshotMeta:
    """Copy the state; the configuration has the new server as its only member."""
    configuration = Configuration((Server(new_cluster.server_id, new_cluster.address),))
    sink = store.create(meta.index, meta.term, configuration, meta.index)
    try:
        written = 0
        for chunk in contents:
            sink.write(chunk)
            written += len(chunk)
            progress(written)
        return sink.commit()
    except BaseException:
        sink.abort()
        raise


def _make_aside(target: Path) -> Path:
    """Make an empty temporary directory on the same file system."""
    parent = target.parent
    make_directories(parent, 0o755)
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.restoring-", dir=parent))


def _publish(aside: Path, target: Path) -> None:
    if not any(aside.iterdir()):
        raise StorageError("the store keeps nothing in its directory; accepted: a durable store")
    sync_directory(aside)
    # Replaces an empty directory, and fails if somebody put something into it meanwhile.
    aside.rename(target)
    sync_directory(target.parent)


def _failure(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: {error.strerror}", path=str(path))
