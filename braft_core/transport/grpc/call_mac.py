"""MACs of authenticated calls. Pure.

The service ``braft.v1.Proof`` makes a session. Each call of a session has a unique number; the
metadata carries a MAC of the number, the method and the ids. Every message of the call, its answers
and its error have MACs as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from braft_core.errors import DecodeError
from braft_core.proof import MAC_SIZE, Keys

__all__ = [
    "ERROR_SEAL",
    "MAC_SIZE",
    "PROOF",
    "SESSION",
    "CallMac",
    "MacMismatchError",
    "ReplayWindow",
    "unpack",
]

#: Metadata of each call of a session: session, number of the call, MAC.
PROOF = "braft-proof-bin"
#: Trailing metadata: ``unknown`` if the server does not know the session of a call.
SESSION = "braft-session"
#: Trailing metadata: the MAC of the error in the same metadata.
ERROR_SEAL = "braft-error-seal-bin"
#: Bytes that a MAC adds to a message.
MAC_SIZE = MAC_SIZE

_CALL = struct.Struct("!16sQ16s")
#: What the MAC covers: its purpose, the number of the call, the number of the message.
_HEADER = struct.Struct("!BQQ")
_METADATA, _MESSAGE, _ERROR = range(3)
#: Numbers below the highest that may still arrive: calls can overtake each other.
_WINDOW = 4096


class MacMismatchError(DecodeError):
    """A message was not sent by the other end, or not at this place of the call."""


class CallMac:
    """Signs and verifies one call of a session, at either end.

    :param number: the number of the call.
    :param client: whether this is the calling end.
    """

    def __init__(self, keys: Keys, number: int, client: bool) -> None:
        self._keys = keys
        self._number = number
        self._ours, self._theirs = (
            (keys.client, keys.server) if client else (keys.server, keys.client)
        )
        self._sent = self._received = 0

    def call_metadata(self, fields: Iterable[str]) -> tuple[str, bytes]:
        """Return the metadata of the call.

        :param fields: the method and the ids in the metadata, in a fixed order.
        """
        tag = self._keys.client.tag(self._header(_METADATA, 0), _joined(fields))
        return PROOF, _CALL.pack(self._keys.session, self._number, tag)

    def verifies_metadata(self, fields: Iterable[str], tag: bytes) -> bool:
        """Return whether the MAC of the call's metadata is right."""
        return self._keys.client.check(self._header(_METADATA, 0), _joined(fields), tag)

    def sign(self, data: bytes) -> bytes:
        """Return our next message with its MAC."""
        header = self._header(_MESSAGE, self._sent)
        self._sent += 1
        return self._ours.tag(header, data) + data

    def verify(self, signed: bytes) -> bytes:
        """Return the other end's next message. :raises MacMismatchError: its MAC is wrong."""
        header, data = self._header(_MESSAGE, self._received), signed[MAC_SIZE:]
        if not self._theirs.check(header, data, signed[:MAC_SIZE]):
            raise MacMismatchError("a message has a wrong MAC")
        self._received += 1
        return data

    def sign_error(self, packed: bytes) -> tuple[str, bytes]:
        """Return the metadata with the MAC of an error of ours."""
        return ERROR_SEAL, self._ours.tag(self._header(_ERROR, 0), packed)

    def verifies_error(self, packed: bytes, tag: object) -> bool:
        """Return whether the other end sent this error."""
        header = self._header(_ERROR, 0)
        return isinstance(tag, bytes) and self._theirs.check(header, packed, tag)

    def _header(self, what: int, number: int) -> bytes:
        return _HEADER.pack(what, self._number, number)


def unpack(value: object) -> tuple[bytes, int, bytes] | None:
    """Return session, number and MAC from a call's metadata; ``None`` if malformed."""
    if not isinstance(value, bytes) or len(value) != _CALL.size:
        return None
    session, number, tag = _CALL.unpack(value)
    return session, number, tag


def _joined(fields: Iterable[str]) -> bytes:
    return "\0".join(fields).encode(errors="replace")


class ReplayWindow:
    """The used call numbers of a session. Each is accepted once."""

    def __init__(self) -> None:
        self._highest = -1
        #: Bit n: the number n below the highest was used.
        self._used = 0

    def take(self, number: int) -> bool:
        """Use a number; return False if it was used before, or is too old to know."""
        ahead = number - self._highest
        if ahead > 0:
            # A large step clears the window, instead of a shift by as many bits.
            self._used = (self._used << ahead | 1) & _MASK if ahead < _WINDOW else 1
            self._highest = number
            return True
        bit = 1 << -ahead
        if -ahead >= _WINDOW or self._used & bit:
            return False
        self._used |= bit
        return True


_MASK = (1 << _WINDOW) - 1
