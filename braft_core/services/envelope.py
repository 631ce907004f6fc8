"""Commands and their outcomes as bytes.

A command is one byte of format version, one byte of serializer tag, then the serialized list
``[service, command, [arguments]]``. It is in the log for ever, hence the version.

An outcome travels between nodes only: msgpack of ``[0, value]`` or ``[1, code, message, data]``.

Decoding executes nothing, and is bounded by the size of its input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braft_core.abc import Serializer
from braft_core.errors import BraftError, DecodeError, from_wire, to_wire
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.plain import check_plain
from braft_core.serializers.registry import Serializers

__all__ = ["VERSION", "decode_command", "decode_outcome", "encode_command", "encode_outcome"]

#: The format version of commands.
VERSION = 1

_HEAD = 2
_VALUE, _ERROR = 0, 1
_outcomes = MsgpackSerializer()


def encode_command(
    serializer: Serializer, service: str, command: str, args: Sequence[Any]
) -> bytes:
    """The data of a log entry. :raises TypeError: for arguments that are not plain values."""
    return bytes((VERSION, serializer.tag)) + serializer.dumps([service, command, list(args)])


def decode_command(
    serializers: Mapping[int, Serializer], data: bytes
) -> tuple[str, str, list[Any]]:
    """Service, command and arguments.

    :param serializers: by their tags.
    :raises DecodeError: for anything that :func:`encode_command` did not make.
    """
    if len(data) <= _HEAD or data[0] != VERSION:
        raise _no_command(data)
    serializer = serializers.get(data[1])
    if serializer is None:
        serializer = Serializers(serializers.values()).by_tag(data[1])
    parts = _loads(serializer, data[_HEAD:])
    if type(parts) is list and len(parts) == 3:
        service, command, args = parts
        if type(service) is str and type(command) is str and type(args) is list:
            return service, command, args
    raise DecodeError(f"not a command: {len(data)} bytes that are not [service, command, [...]]")


def encode_outcome(outcome: Any) -> bytes:
    """A plain value or a ``BraftError`` as bytes. :raises TypeError: for any other value."""
    if not isinstance(outcome, BraftError):
        return _outcomes.dumps([_VALUE, outcome])
    code, message, data = to_wire(outcome)
    return _outcomes.dumps([_ERROR, code, _text(message), {k: _plain(v) for k, v in data.items()}])


def decode_outcome(data: bytes) -> Any:
    """The value, or the error (returned, not raised) that :func:`encode_outcome` was given.

    Bytes that are no outcome give a ``DecodeError``, also returned: what is waiting for the
    outcome gets exactly one answer.
    """
    try:
        parts = _outcomes.loads(data)
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


def _no_command(data: bytes) -> DecodeError:
    if len(data) <= _HEAD:
        return DecodeError(f"not a command: {len(data)} bytes", size=len(data))
    return DecodeError(
        f"a command of format {data[0]}; this braft reads format {VERSION}", version=data[0]
    )


def _text(message: str) -> str:
    return message.encode(errors="backslashreplace").decode()


def _plain(fact: Any) -> Any:
    # An error must get through, whatever somebody hung on it.
    try:
        check_plain(fact)
    except TypeError:
        return _text(repr(fact))
    return fact
