"""Commands and their outcomes as bytes.

A command is one byte of format version, one byte of serializer tag, then the serialized list
``[service, command, [arguments]]``. It is in the log for ever, hence the version.

That is format 1. Format 5, a command of a client session, has 28 more bytes before the list: the
session (16 bytes), the sequence number in it (8) and how far behind that the session's floor is
(4), the numbers big-endian. They stand outside the list so that a command can be numbered, and a
repetition be recognised, without its serializer.

Formats 3 and 6 are as 1 and 5, with arguments that are no plain values: the list holds the plain
values that stand for them (:mod:`braft_core.serializers.typed`).

Formats 2 and 4 are as 5 and 6 with sessions of 8 bytes, the log index at which they were opened.
They are read, since logs hold them, and no longer written: whoever guesses an index could use up
the numbers of that session.

An outcome travels between nodes only: msgpack of ``[0, value]``, ``[1, code, message, data]``, or
``[2, the plain value that stands for a typed one]``.

Decoding executes nothing, and is bounded by the size of its input.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from braft_core.abc import Serializer
from braft_core.errors import BraftError, DecodeError, InvalidRequest, from_wire, to_wire
from braft_core.serializers.missing import NotKnownHere
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.plain import check_plain, not_finite
from braft_core.serializers.registry import Serializers
from braft_core.serializers.typed import from_plain, to_plain, types_in
from braft_core.services.capabilities import Need

__all__ = [
    "FORMATS",
    "IN_SESSION",
    "MAX_BEHIND",
    "OF_SESSIONS",
    "SESSION_BYTES",
    "SESSION_ID_BYTES",
    "TYPED",
    "TYPED_IN_SESSION",
    "VERSION",
    "Place",
    "decode_command",
    "decode_outcome",
    "decode_place",
    "encode_answer",
    "encode_command",
    "encode_failure",
    "encode_outcome",
    "in_session",
    "read_need",
    "routing_key",
]

#: The format version of commands, and that of commands of a session.
VERSION = 1
IN_SESSION = 5
#: The same of commands with typed arguments.
TYPED = 3
TYPED_IN_SESSION = 6
#: The formats of sessions that were named by a log index: read, and not written.
_INDEXED, _TYPED_INDEXED = 2, 4
#: The formats of commands of a session.
OF_SESSIONS = frozenset({IN_SESSION, TYPED_IN_SESSION, _INDEXED, _TYPED_INDEXED})
#: Bytes of the id of a session, which its client draws at random.
SESSION_ID_BYTES = 16
#: What a session adds to a command, bytes.
SESSION_BYTES = 28
#: How far behind its sequence number the floor of a command may be.
MAX_BEHIND = (1 << 32) - 1

_HEAD = 2
_PLACE = struct.Struct(f">BB{SESSION_ID_BYTES}sQI")
_PLACE_BYTES, _pack_place, _unpack_place = _PLACE.size, _PLACE.pack, _PLACE.unpack_from
_INDEXED_PLACE = struct.Struct(">BB8sQI")
#: Where the list begins, by format.
_HEADS = {
    VERSION: _HEAD,
    IN_SESSION: _HEAD + SESSION_BYTES,
    TYPED: _HEAD,
    TYPED_IN_SESSION: _HEAD + SESSION_BYTES,
    _INDEXED: _INDEXED_PLACE.size,
    _TYPED_INDEXED: _INDEXED_PLACE.size,
}
#: All formats that this code reads.
FORMATS = frozenset(_HEADS)
_IN_SESSION = {VERSION: IN_SESSION, TYPED: TYPED_IN_SESSION}
_WITH_TYPES = frozenset({TYPED, TYPED_IN_SESSION, _TYPED_INDEXED})
#: Services that would refuse typed values when they are applied, which is late.
_PLAIN_ONLY = frozenset({"kv", "distribute"})
_VALUE, _ERROR, _TYPED_VALUE = 0, 1, 2
#: How msgpack begins the list of a command, short texts and short lists.
_PLAIN_HEADS = {version: head for version, head in _HEADS.items() if version not in _WITH_TYPES}
_MSGPACK = MsgpackSerializer.tag
_LIST_OF_THREE, _SHORT_TEXT, _SHORT_LIST = 0x93, 0xA0, 0x90
_SHORT_MOST, _LIST_MOST = 31, 15
_outcomes = MsgpackSerializer()


def encode_command(
    serializer: Serializer, service: str, command: str, args: Sequence[Any]
) -> bytes:
    """The data of a log entry.

    :raises TypeError: for arguments that are neither plain values nor of registered types.
        ``kv`` and ``distribute``, which other programs read by HTTP, take plain values alone.
    :raises InvalidRequest: for a NaN or an infinity to those two, for the same reason.
    """
    try:
        data = bytes((VERSION, serializer.tag)) + serializer.dumps([service, command, list(args)])
        if service in _PLAIN_ONLY:
            _check_finite(service, command, args)
        return data
    except TypeError:
        if service in _PLAIN_ONLY:
            raise
        plain = to_plain(list(args), keep_tuples=False)
    _check_comes_back(service, command, plain)
    return bytes((TYPED, serializer.tag)) + serializer.dumps([service, command, plain])


def _check_finite(service: str, command: str, args: Sequence[Any]) -> None:
    # At the caller alone: to refuse in the service what another version stored would make
    # replicas differ.
    number = not_finite(args)
    if number is not None:
        raise InvalidRequest(
            f"{service}.{command}: {number} in {args!r:.80} has no form in JSON, in which others "
            "read it; accepted: finite numbers, or a text that stands for it",
            value=str(number),
            accepted="finite numbers",
        )


def _check_comes_back(service: str, command: str, plain: Any) -> None:
    # What a class's own constructor refuses would stop every node when it is read from the log.
    try:
        from_plain(plain)
    except DecodeError as error:
        raise TypeError(f"{service}.{command}: an argument does not come back: {error}") from error


class Place(NamedTuple):
    """Where a command stands among those of its client (Raft thesis §6.3)."""

    session: bytes
    sequence: int
    #: The lowest sequence number whose answer the client still waits for.
    floor: int


def in_session(data: bytes, place: tuple[bytes, int, int]) -> bytes:
    """The command that :func:`encode_command` made, as one of a session, at a :class:`Place`."""
    session, sequence, floor = place
    return (
        _pack_place(_IN_SESSION[data[0]], data[1], session, sequence, sequence - floor)
        + data[_HEAD:]
    )


def decode_place(data: bytes) -> tuple[bytes, int, int]:
    """The fields of a :class:`Place`, of a command of a session.

    A plain tuple, since to make the named one would take a quarter of the time of a session.

    :raises DecodeError: it has none.
    """
    try:
        _, _, session, sequence, behind = (
            _unpack_place(data) if data[0] >= IN_SESSION else _INDEXED_PLACE.unpack_from(data)
        )
    except (struct.error, IndexError) as error:
        raise DecodeError(
            f"not a command of a session: {len(data)} bytes", size=len(data)
        ) from error
    if behind >= sequence:
        raise DecodeError(f"not a command of a session: number {sequence}, {behind} behind")
    return session, sequence, sequence - behind


def decode_command(
    serializers: Mapping[int, Serializer], data: bytes
) -> tuple[str, str, list[Any]]:
    """Service, command and arguments, of either format.

    :param serializers: by their tags.
    :raises NotKnownHere: it was made with what is not installed here.
    :raises DecodeError: for anything that :func:`encode_command` did not make.
    """
    service, command, args = _parts(serializers, data)
    return service, command, from_plain(args) if data[0] in _WITH_TYPES else args


def _parts(serializers: Mapping[int, Serializer], data: bytes) -> tuple[str, str, list[Any]]:
    """Service, command and arguments as plain values, those that stand for typed ones included."""
    if len(data) <= _HEAD:
        raise DecodeError(f"not a command: {len(data)} bytes", size=len(data))
    if data[0] not in _HEADS:
        # A later version may read it, and apply it: to answer for the cluster would be a guess.
        raise NotKnownHere(
            f"a command of format {data[0]}; this braft reads formats {VERSION} to "
            f"{TYPED_IN_SESSION}: upgrade it",
            version=data[0],
        )
    serializer = serializers.get(data[1])
    if serializer is None:
        serializer = Serializers(serializers.values()).by_tag(data[1])
    parts = _loads(serializer, data[_HEADS[data[0]] :])
    if type(parts) is list and len(parts) == 3:
        service, command, args = parts
        if type(service) is str and type(command) is str and type(args) is list:
            return service, command, args
    raise DecodeError(f"not a command: {len(data)} bytes that are not [service, command, [...]]")


def read_need(serializers: Mapping[int, Serializer], data: bytes) -> Need:
    """Return what a node needs to execute the command. Makes no object of a command type.

    :raises NotKnownHere: this process lacks the format or the serializer itself.
    :raises DecodeError: for anything that :func:`encode_command` did not make.
    """
    service, command, args = _parts(serializers, data)
    types = tuple(sorted(types_in(args))) if data[0] in _WITH_TYPES else ()
    return Need(data[0], data[1], service, command, len(args), types)


def routing_key(data: bytes) -> bytes | None:
    """Return format, serializer, service, command and number of arguments as they are encoded.

    Equal keys have equal needs. ``None`` where that takes more than a look at a few bytes: for
    typed arguments, other serializers than msgpack, long names and many arguments.
    """
    try:
        head = _PLAIN_HEADS[data[0]]
        if data[1] != _MSGPACK or data[head] != _LIST_OF_THREE:
            return None
        at = head + 1
        for _ in range(2):  # a short text is one byte with its length, then the text
            length = data[at] - _SHORT_TEXT
            if not 0 < length <= _SHORT_MOST:
                return None
            at += 1 + length
        if not _SHORT_LIST <= data[at] <= _SHORT_LIST + _LIST_MOST:
            return None
    except (KeyError, IndexError):
        return None
    return data[:2] + data[head + 1 : at + 1]


def encode_outcome(outcome: Any) -> bytes:
    """A plain or typed value or a ``BraftError`` as bytes. :raises TypeError: for other values."""
    if not isinstance(outcome, BraftError):
        try:
            return _outcomes.dumps([_VALUE, outcome])
        except TypeError:
            return _outcomes.dumps([_TYPED_VALUE, to_plain(outcome, keep_tuples=False)])
    return encode_failure(*to_wire(outcome))


def encode_answer(outcome: Any) -> bytes:
    """:func:`encode_outcome` for an answer on its way to another node; never fails.

    A value may be of the greatest depth, and the list around it is one more. Session tables go by
    :func:`encode_outcome`: what they keep must not depend on the version of a node.
    """
    try:
        return encode_outcome(outcome)
    except TypeError as error:
        reason = error
    if isinstance(outcome, BraftError):
        facts = {key: _text(repr(fact)) for key, fact in outcome.data.items()}
        return encode_failure(outcome.code, outcome.message, facts)
    try:
        return _deep(outcome)
    except (TypeError, DecodeError):
        return encode_failure("rejected", f"applied; its answer cannot be sent: {reason}", {})


def _deep(outcome: Any) -> bytes:
    try:
        check_plain(outcome)
        parts = [_VALUE, outcome]
    except TypeError:
        parts = [_TYPED_VALUE, to_plain(outcome, keep_tuples=False)]
        from_plain(parts[1])  # as the receiver does
    packed: bytes = msgpack.packb(parts)
    return packed


def encode_failure(code: str, message: str, data: Mapping[str, Any]) -> bytes:
    """The outcome that is an error, from the parts of ``to_wire``."""
    return _outcomes.dumps([_ERROR, code, _text(message), {k: _plain(v) for k, v in data.items()}])


def decode_outcome(data: bytes) -> Any:
    """The value, or the error (returned, not raised) that :func:`encode_outcome` was given.

    Bytes that are no outcome give a ``DecodeError``, also returned: what is waiting for the
    outcome gets exactly one answer.
    """
    try:
        parts = _outcomes.loads(data)
        if type(parts) is list and parts[:1] == [_TYPED_VALUE] and len(parts) == 2:
            return from_plain(parts[1])
    except DecodeError as error:
        return error
    match parts:
        case [0, value]:
            return value
        case [1, str(code), str(message), dict(facts)]:
            return from_wire(code, message, facts)
    return DecodeError(f"not an outcome: {len(data)} bytes", size=len(data))


def _loads(serializer: Serializer, data: bytes) -> Any:
    try:
        return serializer.loads(data)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # a plugin that breaks its rule: it must not stop every node
        raise DecodeError(
            f"not a command: serializer {serializer.name!r} raised {type(error).__name__}"
        ) from error


def _text(message: str) -> str:
    return message.encode(errors="backslashreplace").decode()


def _plain(fact: Any) -> Any:
    # An error must get through, whatever somebody hung on it.
    try:
        check_plain(fact)
    except TypeError:
        return _text(repr(fact))
    return fact
