"""``kv``: maps of keys and values, with revisions.

A value's revision is the log index of the command that wrote it: it rises with each write and is
never used twice. A map is there as long as it has a key.

Map names and keys are text of 1 to 1,024 bytes in UTF-8, without NUL. Values are any plain values.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgpack

from braft_core.abc import CommandContext
from braft_core.errors import Conflict, DecodeError, InvalidArgument, Rejected
from braft_core.serializers.plain import check_plain
from braft_core.services.service import StateMachineService, command, query

__all__ = ["KVService"]

#: Longest map name or key, bytes of UTF-8.
MAX_NAME = 1024
#: Entries encoded into one chunk of a snapshot.
_SNAPSHOT_BATCH = 256
_NIL = b"\xc0"

_Slot = tuple[Any, int]


class KVService(StateMachineService):
    """The key-value service. Each error names what was wrong, and changes nothing."""

    name = "kv"

    def __init__(self) -> None:
        self._maps: dict[str, dict[str, _Slot]] = {}

    @command
    def put(self, context: CommandContext, map_name: str, key: str, value: Any) -> int:
        """Store a value; returns its revision."""
        _check_name("map name", map_name)
        _check_name("key", key)
        _check_value(key, value)
        slots = self._maps.get(map_name)
        if slots is None:
            slots = self._maps[map_name] = {}
        slots[key] = (value, context.index)
        return context.index

    @command
    def put_if(
        self,
        context: CommandContext,
        map_name: str,
        key: str,
        value: Any,
        expected_revision: int,
    ) -> int:
        """Store a value if the key is at that revision (0: does not exist); returns the new one.

        :raises Conflict: it is not; ``data['revision']`` says where it is.
        """
        self._expect(map_name, key, expected_revision)
        return self.put(context, map_name, key, value)

    @command
    def delete(self, map_name: str, key: str) -> bool:
        """Remove a key; whether it was there."""
        if self._slot(map_name, key) is None:
            return False
        slots = self._maps[map_name]
        del slots[key]
        if not slots:
            del self._maps[map_name]
        return True

    @command
    def delete_if(self, map_name: str, key: str, expected_revision: int) -> bool:
        """Remove a key if it is at that revision; ``False`` for 0: nothing to remove.

        :raises Conflict: it is not; ``data['revision']`` says where it is.
        """
        self._expect(map_name, key, expected_revision)
        return self.delete(map_name, key)

    @query
    def get(self, map_name: str, key: str) -> list[Any] | None:
        """``[value, revision]``, or ``None`` if there is no such key, or no such map."""
        slot = self._slot(map_name, key)
        return None if slot is None else list(slot)

    @query(name="list")
    def items(self, map_name: str) -> dict[str, Any]:
        """All keys and values of a map.

        :raises Rejected: there is no such map. (A map without keys does not exist: an empty
            answer would hide a misspelt name.)
        """
        _check_name("map name", map_name)
        if map_name not in self._maps:
            raise Rejected(f"there is no map {map_name!r}", map=map_name)
        return {key: value for key, (value, _) in self._maps[map_name].items()}

    @query
    def maps(self) -> list[str]:
        """The names of all maps, sorted."""
        return sorted(self._maps)

    def snapshot(self) -> Iterator[bytes]:
        """See :meth:`Service.snapshot`.

        The capture copies the tables, not the values: a stored value is never changed, only
        replaced.
        """
        return _encoded({name: dict(slots) for name, slots in self._maps.items()})

    def restore(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.restore`. The old state is let go first: both may not fit."""
        self._maps = {}
        maps: dict[str, dict[str, _Slot]] = {}
        for name, key, value, revision in _decoded(chunks):
            maps.setdefault(name, {})[key] = (value, revision)
        self._maps = maps

    def _slot(self, map_name: str, key: str) -> _Slot | None:
        _check_name("map name", map_name)
        _check_name("key", key)
        slots = self._maps.get(map_name)
        return None if slots is None else slots.get(key)

    def _expect(self, map_name: str, key: str, expected: int) -> None:
        if type(expected) is not int or expected < 0:
            raise InvalidArgument(
                f"expected_revision {expected!r} of key {key!r} is not a number >= 0"
            )
        slot = self._slot(map_name, key)
        revision = 0 if slot is None else slot[1]
        if revision != expected:
            raise Conflict(
                f"key {key!r} of map {map_name!r} is at revision {revision}, not {expected}",
                map=map_name,
                key=key,
                revision=revision,
                expected=expected,
            )


def _check_name(what: str, name: Any) -> None:
    if type(name) is str and 0 < len(name) <= MAX_NAME and "\0" not in name:
        if name.isascii():
            return
        try:
            if len(name.encode()) <= MAX_NAME:
                return
        except UnicodeEncodeError as error:
            raise _refused(what, name) from error
    raise _refused(what, name)


def _refused(what: str, name: Any) -> InvalidArgument:
    shown = repr(name)[:80]
    return InvalidArgument(
        f"{what} {shown} is not accepted: it is text of 1 to {MAX_NAME} bytes in valid UTF-8, "
        "without NUL",
        **{what.split()[0]: shown},
    )


def _check_value(key: str, value: Any) -> None:
    try:
        check_plain(value)
    except TypeError as error:
        raise InvalidArgument(
            f"the value of key {key!r} is not accepted: {error}", key=key
        ) from error


# --------------------------------------------------------------------------------------------
# Snapshot: msgpack values [map, key, value, revision], one after the other


def _encoded(maps: dict[str, dict[str, _Slot]]) -> Iterator[bytes]:
    pack = msgpack.Packer().pack
    for name, slots in maps.items():
        rows = iter(slots.items())
        while batch := list(islice(rows, _SNAPSHOT_BATCH)):
            yield b"".join(pack((name, key, value, at)) for key, (value, at) in batch)


def _decoded(chunks: Iterator[bytes]) -> Iterator[tuple[str, str, Any, int]]:
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    for chunk in chunks:
        unpacker.feed(chunk)
        yield from map(_row, _complete(unpacker))
    # What is left of an incomplete value is inside the unpacker; it would swallow this one.
    unpacker.feed(_NIL)
    if list(_complete(unpacker)) != [None]:
        raise DecodeError("not a snapshot of kv: it ends in the middle of a value")


def _complete(unpacker: msgpack.Unpacker) -> Iterator[Any]:
    try:
        yield from unpacker
    except Exception as error:  # the library documents that others than its own may come
        raise DecodeError(f"not a snapshot of kv: {error}") from error


def _row(row: Any) -> tuple[str, str, Any, int]:
    match row:
        case [str(name), str(key), value, int(revision)]:
            return name, key, value, revision
    raise DecodeError("not a snapshot of kv: a value that is not [map, key, value, revision]")
