"""A new cluster whose store has given contents: what other programs' data is imported by.

Works offline, as :mod:`braft_core.runtime.recover_cluster`: it makes the data directory of the
first node, which others join. The contents are checked before there is a directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from braft_core.audit import audit
from braft_core.config import Settings
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry
from braft_core.raft import Configuration, SnapshotMeta
from braft_core.runtime import recover_cluster
from braft_core.runtime.recover_cluster import check_target
from braft_core.services.snapshot_stream import write_sections
from braft_core.services.store import StoreService
from braft_core.services.store.contents import StoreContents, snapshot_of

__all__ = ["MadeCluster", "StoreContents", "check_target", "make_cluster"]

#: Index and term of the only entry that the new log is taken to have had.
_INDEX, _TERM = 1, 1


class MadeCluster(NamedTuple):
    """The first node of a new cluster; it does not run yet."""

    data_dir: Path
    server_id: str
    cluster_id: str
    #: ``host:port`` to begin with. Once the node runs it tells where it really is.
    address: str


def make_cluster(
    contents: StoreContents,
    options: Mapping[str, Any],
    source: str,
    progress: Callable[[int], object] = lambda size: None,
) -> MadeCluster:
    """Make the data directory of the first node of a new cluster.

    :param options: settings such as ``data_dir`` and ``rport``, which overrule environment and
        ``braft.toml``.
    :param source: where the contents are from, for the audit log.
    :param progress: called with the bytes written so far.
    :raises ConfigError: a setting is wrong, or no directory on disk is named.
    :raises DecodeError: the store cannot have such contents. Nothing was made then.
    :raises InvalidArgument: a lease is not accepted. Nothing was made then.
    :raises StorageError: the directory exists and is not empty, or something cannot be written.
    """
    settings = Settings.load(cli=options)
    target = check_target(settings.data_dir)
    registry = Registry(Plugins.load(settings.plugins_disable))
    make_storage = recover_cluster.storage_maker(settings, registry)
    new = recover_cluster.new_cluster(settings, registry)
    StoreService().check_snapshot(snapshot_of(contents))
    meta = SnapshotMeta("import", _INDEX, _TERM, Configuration(()), 0)
    state = write_sections([(StoreService.name, snapshot_of(contents))])
    recover_cluster.make_data_dir(meta, state, target, new, make_storage, progress)
    audit("import", by=f"user {os.getuid()}", file=source, to=target)
    return MadeCluster(target, new.server_id, new.cluster_id, new.address)
