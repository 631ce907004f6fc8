"""Downloads a snapshot into a file that appears only once it is complete and verified.

Memory use is bounded, whatever the size.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import httpx

from braft_core.client.response_decoding import error_of
from braft_core.cluster_types import SnapshotInfo
from braft_core.errors import StorageError, StorageFull, Unreachable
from braft_core.storage.directory import sync_directory
from braft_core.storage.snapshot_file import verify_file

__all__ = ["SavedSnapshot", "download"]

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_PIECE = 256 << 10


class SavedSnapshot(NamedTuple):
    """A snapshot that was downloaded, and the cluster that it is from."""

    info: SnapshotInfo
    #: Size of the file in bytes.
    file_size: int
    #: ``None`` if the node did not report it.
    cluster_name: str | None
    cluster_id: str | None


def download(
    http: httpx.Client,
    url: str,
    path: Path,
    progress: Callable[[int], object],
    overwrite: bool,
) -> SavedSnapshot:
    """Fetch ``url`` into ``path``; see :meth:`braft_core.client.Client.download_snapshot`.

    :raises Unreachable: the node does not answer, or breaks off.
    """
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    with _aside(path) as part:
        try:
            with http.stream("GET", url) as answer:
                if not answer.is_success:
                    answer.read()
                error = error_of(answer, write=False)
                if error is not None:
                    raise error
                _receive(answer, part, progress)
                name = answer.headers.get("Braft-Cluster-Name")
                cluster = answer.headers.get("Braft-Cluster-ID")
        except httpx.RequestError as failure:
            raise Unreachable(f"{url} ({type(failure).__name__}: {failure})") from failure
        meta = verify_file(part)
        size = part.stat().st_size
        _publish(part, path, overwrite)
    # The id in the file is its temporary name; that of the snapshot ends the URL.
    snapshot_id = url.rpartition("/")[2]
    info = SnapshotInfo(snapshot_id, meta.index, meta.term, meta.size, meta.configuration.ids)
    return SavedSnapshot(info, size, name or None, cluster or None)


def _receive(answer: httpx.Response, part: Path, progress: Callable[[int], object]) -> None:
    with _writing(part) as file:
        received = 0
        for piece in answer.iter_bytes(_PIECE):
            file.write(piece)
            received += len(piece)
            progress(received)


@contextmanager
def _writing(part: Path) -> Iterator[BinaryIO]:
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _failure(part, error) from error


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, and remove what is left there."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _publish(part: Path, path: Path, overwrite: bool) -> None:
    """Rename the file. A symbolic link of that name is replaced, never followed."""
    try:
        if overwrite:
            part.rename(path)
        else:
            _take_name(part, path)
        sync_directory(path.parent)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise _failure(path, error) from error


def _take_name(part: Path, path: Path) -> None:
    """Rename the file without replacing another.

    :raises FileExistsError: a file of that name exists.
    """
    try:
        os.link(part, path)  # _aside removes the temporary name
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: the file is empty for a moment.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o600))
        part.rename(path)


def _exists(path: Path) -> StorageError:
    return StorageError(f"{path} exists; accepted: a new name, or overwrite", path=str(path))


def _failure(path: Path, error: OSError) -> StorageError:
    if error.errno in _NO_SPACE:
        return StorageFull(f"{path}: no space left for the snapshot", path=str(path))
    return StorageError(f"{path}: {error.strerror}", path=str(path))
