"""Commands and their outcomes as bytes.

A command is one byte of format, one byte of serializer tag, the session fields if it has any, then
the serialized list ``[service, command, [arguments]]``. The log keeps it, hence the format byte:
:data:`FORMAT`, plus one bit for each of these:

* :data:`IN_SESSION`: 28 bytes of session fields follow the tag, big-endian: the session id (16),
  the sequence number (8), and how far the first unacknowledged number is behind it (4). They stand
  outside the list, so that a retry is numbered and recognised without the serializer.
* :data:`TYPED`: some arguments are not plain values. The list holds the plain values that stand for
  them (:mod:`braft_core.serializers.typed_values`).

An outcome travels between nodes only. It is the msgpack of ``[0, value]``, ``[1, code, message,
data]``, or ``[2, plain form of a typed value]``.

Decoding executes nothing, and its cost is bounded by the size of its input.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from braft_core.abc import Serializer
from braft_core.errors import BraftError, DecodeError, InvalidRequest, from_wire, to_wire
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.plain import check_plain, not_finite
from braft_core.serializers.registry import Serializers
from braft_core.serializers.typed_values import from_plain, to_plain, types_in
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.capabilities import Need

__all__ = [
    "FORMAT",
    "FORMATS",
    "IN_SESSION",
    "LONG_COMMAND",
    "MAX_BEHIND",
    "SESSION_BYTES",
    "SESSION_ID_BYTES",
    "TYPED",
    "SessionStamp",
    "decode_command",
    "decode_outcome",
    "decode_session_stamp",
    "encode_answer",
    "encode_command",
    "encode_failure",
    "encode_outcome",
    "read_need",
    "routing_key",
    "with_session",
]

#: The format of commands, without flags.
FORMAT = 1
#: Flag: some arguments are typed.
TYPED = 2
#: Flag: the command belongs to a client session.
IN_SESSION = 4
#: All format bytes that this code reads.
FORMATS = frozenset({FORMAT, FORMAT | TYPED, FORMAT | IN_SESSION, FORMAT | TYPED | IN_SESSION})
#: Bytes of the id of a session, which its client draws at random.
SESSION_ID_BYTES = 16
#: Bytes that a session adds to a command.
SESSION_BYTES = 28
#: How far behind its sequence number the first unacknowledged number of a command may be.
MAX_BEHIND = (1 << 32) - 1

#: Longer commands take milliseconds to read, bytes. What they need is read before they reach the
#: loop, which would send no heartbeat meanwhile.
LONG_COMMAND = 64 << 10

_HEAD = 2
_STAMP = struct.Struct(f">BB{SESSION_ID_BYTES}sQI")
_STAMP_BYTES, _pack_stamp, _unpack_stamp = _STAMP.size, _STAMP.pack, _STAMP.unpack_from
#: Where the list begins, by format byte.
_HEADS = {byte: _HEAD + SESSION_BYTES if byte & IN_SESSION else _HEAD for byte in FORMATS}
#: Services that take plain values alone. They would refuse typed values only when applied.
_PLAIN_ONLY = frozenset({"kv", "distribute"})
_VALUE, _ERROR, _TYPED_VALUE = 0, 1, 2
#: How msgpack begins the list of a command, short texts and short lists.
_PLAIN_HEADS = {byte: head for byte, head in _HEADS.items() if not byte & TYPED}
_MSGPACK = MsgpackSerializer.tag
_LIST_OF_THREE, _SHORT_TEXT, _SHORT_LIST = 0x93, 0xA0, 0x90
_SHORT_MOST, _LIST_MOST = 31, 15
_outcomes = MsgpackSerializer()


def encode_command(
    serializer: Serializer, service: str, command: str, args: Sequence[Any]
) -> bytes:
    """Return the data of a log entry.

    ``kv`` and ``distribute`` take plain values alone, because other programs read them by HTTP.

    :raises TypeError: an argument is neither a plain value nor of a registered type.
    :raises InvalidRequest: an argument holds text with a lone surrogate, or one of those two
        services a number without a form in JSON: a NaN or an infinity.
    """
    try:
        data = bytes((FORMAT, serializer.tag)) + serializer.dumps([service, command, list(args)])
        if service in _PLAIN_ONLY:
            number = not_finite(args)
            if number is not None:
                raise _without_json(service, command, args, number)
        return data
    except TypeError as error:
        if isinstance(error.__cause__, UnicodeEncodeError):
            raise InvalidRequest(
                f"{service}.{command}: {error}",
                value=repr(list(args))[:80],
                accepted="text without lone surrogates",
            ) from error
        if service in _PLAIN_ONLY:
            raise
        plain = to_plain(list(args), keep_tuples=False)
    _check_comes_back(service, command, plain)
    return bytes((FORMAT | TYPED, serializer.tag)) + serializer.dumps([service, command, plain])


def _without_json(service: str, command: str, args: Sequence[Any], number: float) -> InvalidRequest:
    # Only where the call enters: if the service refused what another version accepts, replicas
    # would differ.
    return InvalidRequest(
        f"{service}.{command}: {number} in {list(args)!r:.80} has no form in JSON, in which others "
        "read it; accepted: finite numbers, or a text that stands for it",
        value=str(number),
        accepted="finite numbers",
    )


def _check_comes_back(service: str, command: str, plain: Any) -> None:
    # An argument that its class refuses to rebuild would stop every node that reads the log.
    try:
        from_plain(plain)
    except DecodeError as error:
        raise TypeError(f"{service}.{command}: an argument does not come back: {error}") from error


class SessionStamp(NamedTuple):
    """The session, and the position in it, of a command (Raft thesis §6.3)."""

    session: bytes
    sequence: int
    #: The lowest sequence number whose answer the client has not acknowledged.
    first_unacknowledged: int


def with_session(data: bytes, stamp: tuple[bytes, int, int]) -> bytes:
    """Return a command of :func:`encode_command` with the fields of a :class:`SessionStamp`."""
    session, sequence, first_unacknowledged = stamp
    head = _pack_stamp(
        data[0] | IN_SESSION, data[1], session, sequence, sequence - first_unacknowledged
    )
    return head + data[_HEAD:]


def decode_session_stamp(data: bytes) -> tuple[bytes, int, int]:
    """Return the fields of the :class:`SessionStamp` of a session's command.

    A plain tuple: making the named one would take a quarter of the time that a session costs.

    :raises DecodeError: the command has none.
    """
    try:
        _, _, session, sequence, behind = _unpack_stamp(data)
    except struct.error as error:
        raise DecodeError(
            f"not a command of a session: {len(data)} bytes", size=len(data)
        ) from error
    if behind >= sequence:
        raise DecodeError(f"not a command of a session: number {sequence}, {behind} behind")
    return session, sequence, sequence - behind


def decode_command(
    serializers: Mapping[int, Serializer], data: bytes
) -> tuple[str, str, list[Any]]:
    """Return service, command and arguments.

    :param serializers: by their tags.
    :raises UnsupportedEncoding: the format, the serializer or a type is not installed here.
    :raises DecodeError: :func:`encode_command` did not make these bytes.
    """
    service, command, args = _parts(serializers, data)
    return service, command, from_plain(args) if data[0] & TYPED else args


def _parts(serializers: Mapping[int, Serializer], data: bytes) -> tuple[str, str, list[Any]]:
    """Return service, command and arguments, typed ones in their plain form."""
    if len(data) <= _HEAD:
        raise DecodeError(f"not a command: {len(data)} bytes", size=len(data))
    if data[0] not in _HEADS:
        # A later version may read and apply it, so an answer from here would be a guess.
        raise UnsupportedEncoding(
            f"a command of format {data[0]}; this braft reads formats "
            f"{', '.join(map(str, sorted(FORMATS)))}: upgrade it",
            version=data[0],
        )
    serializer = serializers.get(data[1])
    if serializer is None:
        serializer = Serializers(serializers.values()).by_tag(data[1])
    try:
        parts = serializer.loads(data[_HEADS[data[0]] :])
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # a plugin that breaks its contract must not stop the node
        raise DecodeError(
            f"not a command: serializer {serializer.name!r} raised {type(error).__name__}"
        ) from error
    if type(parts) is list and len(parts) == 3:
        service, command, args = parts
        if type(service) is str and type(command) is str and type(args) is list:
            return service, command, args
    raise DecodeError(f"not a command: {len(data)} bytes that are not [service, command, [...]]")


def read_need(serializers: Mapping[int, Serializer], data: bytes) -> Need:
    """Return what a node needs to execute the command. Create no object of a command type.

    :raises UnsupportedEncoding: this process lacks the format or the serializer itself.
    :raises DecodeError: :func:`encode_command` did not make these bytes.
    """
    service, command, args = _parts(serializers, data)
    types = tuple(sorted(types_in(args))) if data[0] & TYPED else ()
    return Need(data[0], data[1], service, command, len(args), types)


def routing_key(data: bytes) -> bytes | None:
    """Return format, serializer, service, command and number of arguments as they are encoded.

    Equal keys have equal needs. Return ``None`` where a few bytes do not suffice: for typed
    arguments, other serializers than msgpack, long names and many arguments.
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
    """Encode a plain or typed value or a ``BraftError``. :raises TypeError: for other values."""
    if not isinstance(outcome, BraftError):
        try:
            return _outcomes.dumps([_VALUE, outcome])
        except TypeError:
            return _outcomes.dumps([_TYPED_VALUE, to_plain(outcome, keep_tuples=False)])
    return encode_failure(*to_wire(outcome))


def encode_answer(outcome: Any) -> bytes:
    """Encode an outcome for another node; never fail.

    A value may be nested to the limit, and the list around it adds a level. Session tables use
    :func:`encode_outcome`, because what they keep must not depend on a node's version.
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
    """Encode an error as an outcome, from the parts of ``to_wire``."""
    return _outcomes.dumps([_ERROR, code, _text(message), {k: _plain(v) for k, v in data.items()}])


def decode_outcome(data: bytes) -> Any:
    """Return the value or the error that :func:`encode_outcome` encoded; never raise.

    For other bytes return a ``DecodeError``, so that the waiting caller gets exactly one answer.
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


def _text(message: str) -> str:
    return message.encode(errors="backslashreplace").decode()


def _plain(fact: Any) -> Any:
    # The error must arrive, whatever its data holds.
    try:
        check_plain(fact)
    except TypeError:
        return _text(repr(fact))
    return fact
