"""The installed distributions and their entry points, even if some metadata is broken.

``importlib.metadata`` raises if any distribution on the path is broken, and finds a distribution
twice that is on the path twice. This module skips unreadable distributions with one warning, and
uses the first copy on the path, as imports do. Must not know what an entry point is for.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Iterator
from email.message import Message
from typing import NamedTuple

__all__ = [
    "InstalledEntryPoint",
    "canonical",
    "describe_error",
    "entry_points",
    "metadata_of",
    "version_of",
]

_log = logging.getLogger(__name__)

#: What was reported already: a process searches several times, and one warning is enough.
_reported: set[str] = set()


class InstalledEntryPoint(NamedTuple):
    """An entry point and its distribution."""

    point: importlib.metadata.EntryPoint
    distribution: str
    version: str


def entry_points(group: str) -> list[InstalledEntryPoint]:
    """Return every entry point of a group, in the order of the path."""
    found: list[InstalledEntryPoint] = []
    seen: set[str] = set()
    for distribution in _distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == group]
            name, version = _name_and_version(distribution) if points else ("", "")
        except Exception as error:  # noqa: BLE001 - broken metadata can raise anything
            _report(distribution, error)
            continue
        if points and canonical(name) not in seen:
            seen.add(canonical(name))
            found += (InstalledEntryPoint(point, name, version) for point in points)
    return found


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, ``None`` if it cannot be read."""
    metadata = metadata_of(distribution)
    return None if metadata is None else metadata.get("Version")


def metadata_of(distribution: str) -> Message | None:
    """Return the metadata of an installed distribution, ``None`` if it cannot be read."""
    try:
        metadata: Message | None = importlib.metadata.metadata(distribution)  # type: ignore[assignment]
    except Exception:  # noqa: BLE001 - not installed, or broken in any way
        return None
    return metadata


def canonical(name: str) -> str:
    """Return the form in which two spellings of a distribution's name are equal."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def describe_error(error: BaseException) -> str:
    """Return an exception's type, and its message if it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _distributions() -> Iterator[importlib.metadata.Distribution]:
    try:
        for distribution in importlib.metadata.distributions():
            # pip renames folders like this when it could not remove them.
            if not _place(distribution).rpartition("/")[2].startswith("~"):
                yield distribution
    except Exception as error:  # noqa: BLE001 - third-party finders can raise anything
        _warn(
            "the search",
            f"the search for installed distributions failed: {describe_error(error)}",
        )


def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    metadata = distribution.metadata
    name, version = metadata["Name"], metadata["Version"]
    if not name or not version:
        raise ValueError("its METADATA has no Name or no Version")
    return name, version


def _report(distribution: importlib.metadata.Distribution, error: Exception) -> None:
    place = _place(distribution)
    _warn(
        place,
        f"the metadata of the installed distribution {place} cannot be read, so its plugins are "
        f"not loaded: {describe_error(error)}; reinstall it, or remove that folder",
    )


def _warn(subject: str, message: str) -> None:
    if subject not in _reported:
        _reported.add(subject)
        _log.warning("%s", message)


def _place(distribution: importlib.metadata.Distribution) -> str:
    # Only distributions in folders have a path; the others have no leftovers either.
    return str(getattr(distribution, "_path", type(distribution).__qualname__))
