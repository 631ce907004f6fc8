"""Checks of what may keep a node from running on this machine with these settings.

They read files, bind ports for a moment and ask discovery; they change nothing. They open a data
directory, and measure syncs there with a temporary file, only while no node runs on it.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from braft_core.abc import Contact, Discovery
from braft_core.cli.defaults import command_settings
from braft_core.cli.diagnosis.finding import Finding, fail, ok, warn
from braft_core.config import Settings
from braft_core.errors import BraftError, ConfigError, PluginError, StorageLocked
from braft_core.file_descriptors import descriptor_limit, inbound_connection_limit

__all__ = ["examine"]

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}
)
_LITTLE_SPACE, _NO_SPACE = 1 << 30, 64 << 20
_SYNCS, _SLOW_SYNC = 20, 0.02
_FEW_FILES = 1024
_ASK_SECONDS = 5.0
_CONNECT_SECONDS = 1.0


def examine(measure: bool = True) -> Iterator[Finding]:
    """Yield all findings.

    :param measure: write a small temporary file, to measure how long a sync takes.
    """
    try:
        settings = command_settings()
    except ConfigError as error:
        yield fail("settings", error.message, "braft config shows where each one comes from")
        return
    given = [name for name, origin in settings.provenance.items() if origin != "default"]
    yield ok("settings", f"valid; given: {', '.join(sorted(given)) or 'none'}")
    ip, host = yield from _address(settings)
    directory = data_directory(settings)
    owner = yield from _directory(directory)
    yield from _disk(directory, measure and owner is None)
    if owner is None:
        yield from _ports(settings, host, directory)
    yield _open_files()
    yield from _tls(settings)
    yield from _discovery(settings, ip)


def data_directory(settings: Settings) -> Path | None:
    """Return the data directory of a node with these settings; ``None`` for ``:memory:``."""
    from braft_core.runtime import location

    return location.data_directory(settings, location.expected_ports(settings).raft)


def _address(settings: Settings) -> Generator[Finding, None, tuple[str, str]]:
    """Yield findings; return the advertised address and the one to listen on, "" without one."""
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.registry import Registry
    from braft_core.runtime.advertising import advertise
    from braft_core.runtime.security_check import check_security, is_loopback, security_warning

    try:
        plugins = Plugins.load(settings.plugins_disable, tolerate=True)
        ip, host, _ = advertise(settings, Registry(plugins))
    except ConfigError as error:
        yield fail("address", error.message)
        return "", ""
    if is_loopback(ip):
        yield warn("address", f"{ip} is advertised, which other machines cannot reach")
    else:
        yield ok("address", f"{ip} is advertised")
    try:
        check_security(settings, host)
    except ConfigError as error:
        yield fail("exposure", error.message)
    else:
        if danger := security_warning(settings, host):
            yield ok("exposure", danger) if settings.insecure else warn("exposure", danger)
    return ip, host


def _directory(directory: Path | None) -> Generator[Finding, None, int | None]:
    """Yield findings; return the id of the process that uses the directory, if any."""
    if directory is None:
        yield warn("data", "a node with :memory: loses its data when it stops")
        return None
    if not directory.exists():
        yield ok("data", f"{directory} does not exist yet; the first start makes it")
        return None
    from braft_core.storage.directory import DATABASE, DirectoryLock, check_directory
    from braft_core.storage.sqlite_format import read_only

    lock = DirectoryLock(directory)
    try:
        check_directory(directory)
        lock.acquire()
    except StorageLocked as error:
        yield ok("data", f"{error.message}; it was not checked")
        return int(error.data["pid"] or 0)
    except BraftError as error:
        yield fail("data", error.message, "check its owner and mode")
        return None
    try:
        if not (directory / DATABASE).exists():
            yield ok("data", f"{directory} is empty")
            return None
        contents = read_only(directory / DATABASE)
        yield ok(
            "data",
            f"{directory}: {len(contents.entries):,} entries behind index "
            f"{contents.compacted_index:,}, all checksums are correct",
        )
    except BraftError as error:
        yield fail("data", error.message)
    finally:
        lock.release()
    return None


def _existing(directory: Path | None) -> Path:
    path = (directory or Path(tempfile.gettempdir())).absolute()
    return next(part for part in (path, *path.parents) if part.exists())


def _disk(directory: Path | None, measure: bool) -> Iterator[Finding]:
    if directory is None:
        return
    place = _existing(directory)
    free = shutil.disk_usage(place).free
    text = f"{free / (1 << 30):.1f} GiB free on the disk of {place}"
    if free < _NO_SPACE:
        yield fail("space", text, "free space: without it a node takes no writes")
    elif free < _LITTLE_SPACE:
        yield warn("space", text, "free space before the disk is full")
    else:
        yield ok("space", text)
    kind = _file_system(place)
    if kind in _NETWORK:
        yield fail(
            "file system",
            f"{place} is on {kind}, which lacks the locks and syncs that SQLite needs",
            "set BRAFT_DATA_DIR to a local disk",
        )
    else:
        yield ok("file system", f"{place} is on {kind or 'an unknown file system'}")
    if measure:
        yield from _syncs(place)


def _file_system(place: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if place.is_relative_to(p.mountpoint)]
    return str(max(mounts, key=lambda p: len(p.mountpoint)).fstype) if mounts else ""


def _syncs(place: Path) -> Iterator[Finding]:
    took = []
    try:
        with tempfile.NamedTemporaryFile(prefix=".braft-doctor-", dir=place) as file:
            for _ in range(_SYNCS):
                file.write(bytes(256))
                file.flush()
                began = time.monotonic()
                os.fsync(file.fileno())
                took.append(time.monotonic() - began)
    except OSError as error:
        yield fail("sync", f"{place} cannot be written: {error.strerror}")
        return
    median, worst = statistics.median(took), max(took)
    text = f"a sync takes {median * 1000:.1f} ms (median of {_SYNCS}; worst {worst * 1000:.1f})"
    if median > _SLOW_SYNC:
        yield warn("sync", text, "use a faster disk: every write waits for a sync")
    else:
        yield ok("sync", text)


def _ports(settings: Settings, host: str, directory: Path | None) -> Iterator[Finding]:
    from braft_core.runtime.location import expected_ports
    from braft_core.storage.directory import holds_data

    ports = expected_ports(settings)
    movable = settings.rport is None and (
        bool(settings.data_dir) or directory is None or not holds_data(directory)
    )
    chosen = zip(("rport", "dport", "hport"), ports, strict=True)
    taken = []
    for name, port in chosen:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                taken.append(f"{port} ({settings.label(name)}): {error.strerror}")
    if not taken:
        yield ok("ports", f"{', '.join(map(str, ports))} are free")
    elif movable:
        yield warn("ports", f"{'; '.join(taken)}: a node takes the next free ones")
    else:
        yield fail("ports", "; ".join(taken), "stop the process that uses them, or set other ports")


def _open_files() -> Finding:
    limit = descriptor_limit()
    text = (
        f"up to {limit:,} open files, {inbound_connection_limit():,} connections to each listener"
    )
    if limit < _FEW_FILES:
        return warn("limits", text, f"raise the hard limit (ulimit -Hn) to {_FEW_FILES} or more")
    return ok("limits", text)


def _tls(settings: Settings) -> Iterator[Finding]:
    from braft_core.runtime.components import tls_files

    files = tls_files(settings)
    if files is None:
        return
    from braft_core.tls import expiry, material
    from braft_core.tls.peer_rule import PeerRule

    now = datetime.now(UTC)
    try:
        rule = PeerRule(files.peer_names, files.server_name)
        found = material.load(files, material.read(files), rule, now)
    except ConfigError as error:
        yield fail("TLS", error.message)
        return
    near, sentence = expiry.most_urgent(found.validities, now)
    if near is not expiry.ExpiryStage.FAR:
        yield warn("TLS", sentence, "put a new certificate and key under the same names")
    else:
        ends = min(valid.end for _, valid in found.validities)
        yield ok("TLS", f"the files fit together; the first to expire does on {ends:%Y-%m-%d}")
    exposed = material.exposed_key(files)
    if exposed:
        yield warn("TLS", exposed)
    if files.prefer:
        sentence = "BRAFT_TLS=prefer accepts connections without TLS"
        yield warn("TLS", sentence, "set BRAFT_TLS=require once every node has certificates")


def _discovery(settings: Settings, ip: str) -> Iterator[Finding]:
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.option_values import OptionValues
    from braft_core.plugin.registry import Registry
    from braft_core.runtime.components import make_discovery

    try:
        registry = Registry(Plugins.load(settings.plugins_disable))
        option_values = OptionValues(settings, registry)
        option_values.check()
        registry.get("storage", settings.storage)
        registry.get("transport", settings.transport)
        registry.get("serializer", settings.serializer)
        discovery = make_discovery(settings, registry, ip)
    except (ConfigError, PluginError) as error:
        yield fail("plugins", error.message)
        return
    yield ok("plugins", "all plugins in the settings are installed, and their options are valid")
    for sentence in option_values.warnings():
        yield warn("plugins", sentence)
    if discovery is None:
        yield ok("discovery", "none: a cluster of one node")
        return
    if discovery.announces:
        text = (
            f"{discovery.describe()} cannot be asked without announcing a node; "
            "braft status shows what a running node found"
        )
        yield ok("discovery", text)
        return
    try:
        contacts = _ask(discovery)
    # A plugin may raise anything; the failure is the finding.
    except Exception as error:  # noqa: BLE001 - see above
        reason = str(error) or type(error).__name__
        yield fail("discovery", f"{discovery.describe()} failed: {reason}")
        return
    if not contacts:
        yield warn("discovery", f"{discovery.describe()} lists nobody", "start the other nodes")
        return
    answers = [f"{contact} {_reach(contact)}" for contact in contacts]
    yield ok("discovery", f"{discovery.describe()} lists {', '.join(answers)}")


def _ask(discovery: Discovery) -> list[Contact]:
    """Ask a discovery once, in a thread, so that a hanging resolver does not block the command."""
    from braft_core.runtime.loop import LoopThread

    thread = LoopThread("braft-doctor", _CONNECT_SECONDS)
    thread.start()
    try:
        return thread.run(_list(discovery), _ASK_SECONDS)
    finally:
        thread.stop(_CONNECT_SECONDS)


async def _list(discovery: Discovery) -> list[Contact]:
    try:
        return await discovery.discover()
    finally:
        with suppress(Exception):
            await discovery.stop()


def _reach(contact: Contact) -> str:
    try:
        with socket.create_connection((contact.host, contact.port), _CONNECT_SECONDS):
            return "(connects)"
    except OSError as error:
        return f"({error.strerror or error})"
