"""Proves a shared secret without sending it, by challenge and response; then MACs messages.

A client says hello with a fresh nonce. The server answers with a nonce of its own and proves, for
each secret it accepts, that it knows it. The client continues only if one of these proofs is
correct, and proves the same secret. Both then derive keys; everything that follows has a MAC.

The *transcript* binds everything that was sent before: ids, the intended server, the cluster's
name, the purpose of the connection, both nonces. Server and client prove under different labels and
use different MAC keys, so nothing can be reflected to its sender. The MACs keep out a man in the
middle who relays the handshake of two honest nodes and then sends messages of his own. Pure:
randomness and time are passed in; see docs/decisions/0011.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "MAC_SIZE",
    "MAX_PROOFS",
    "NONCE",
    "PROOF",
    "Keys",
    "MacKey",
    "client_proof",
    "client_secret",
    "server_proofs",
    "server_secret",
    "transcript_of",
]

#: Bytes of a nonce and of a proof.
NONCE = 32
PROOF = 32
#: Bytes of the MAC of a message.
MAC_SIZE = 16
#: Proofs that a server may offer: more admin tokens than a rotation needs.
MAX_PROOFS = 16

_LABEL = b"braft-proof-1"
_LENGTH = struct.Struct("!Q")


def transcript_of(transport: str, hello: bytes, challenge: bytes) -> bytes:
    """Return the digest of the handshake's messages, on which proofs and keys depend."""
    digest = hashlib.sha256()
    for part in (_LABEL, transport.encode(), hello, challenge):
        digest.update(_LENGTH.pack(len(part)))
        digest.update(part)
    return digest.digest()


def _mac(secret: bytes, purpose: bytes, transcript: bytes) -> bytes:
    return hmac.digest(secret, _LABEL + b"\0" + purpose + b"\0" + transcript, "sha256")


def server_proofs(secrets: Sequence[bytes], transcript: bytes) -> list[bytes]:
    """Return the proofs of a server that accepts ``secrets``."""
    return [_mac(secret, b"server", transcript) for secret in secrets[:MAX_PROOFS]]


def server_secret(
    secrets: Sequence[bytes], transcript: bytes, offered: Sequence[bytes]
) -> bytes | None:
    """Return the first of our secrets that the server proved; ``None`` ends the handshake."""
    found = None
    for secret in secrets:
        expected = _mac(secret, b"server", transcript)
        if sum([hmac.compare_digest(expected, each) for each in offered]) and found is None:
            found = secret
    return found


def client_proof(secret: bytes, transcript: bytes) -> bytes:
    """Return the proof of a client."""
    return _mac(secret, b"client", transcript)


def client_secret(secrets: Sequence[bytes], transcript: bytes, proof: bytes) -> bytes | None:
    """Return the secret that a client proved, or ``None`` if it proved none of ours.

    All secrets are compared, so that the time does not reveal which one matched.
    """
    found = None
    for secret in secrets:
        if hmac.compare_digest(client_proof(secret, transcript), proof):
            found = secret
    return found


class Keys(NamedTuple):
    """The keys of a handshake. ``session`` identifies it and is not secret."""

    session: bytes
    client: MacKey
    server: MacKey

    @classmethod
    def derive(cls, secret: bytes, transcript: bytes) -> Keys:
        """Derive the keys of the connection with this transcript."""
        session = _mac(secret, b"session", transcript)[:MAC_SIZE]
        client = MacKey(_mac(secret, b"client key", transcript))
        return cls(session, client, MacKey(_mac(secret, b"server key", transcript)))


class MacKey:
    """Authenticates the messages of one direction, with keyed BLAKE2b. Callers number them.

    HMAC-SHA256 would take ten times as long for a message of usual size, as each call sets it up.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hashlib.blake2b(key=key, digest_size=MAC_SIZE)

    def tag(self, header: bytes, body: bytes) -> bytes:
        """Return the MAC of a message.

        :param header: contains the message's number; begins with its length or has a fixed one.
        """
        keyed = self._keyed.copy()
        keyed.update(header)
        keyed.update(body)
        return keyed.digest()

    def check(self, header: bytes, body: bytes, tag: bytes) -> bool:
        """Return whether ``tag`` is the MAC of this message."""
        return hmac.compare_digest(self.tag(header, body), tag)
