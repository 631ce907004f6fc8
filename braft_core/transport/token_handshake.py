"""The two ends of a proof, as every transport uses them: what they say, in bytes.

Owns the form of a challenge, and whose tokens count. How it travels is the transport's affair; what
is computed is in :mod:`braft_core.proof`.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import msgpack

from braft_core import proof
from braft_core.errors import AccessDenied, DecodeError
from braft_core.proof import Keys
from braft_core.tokens import Keyring

__all__ = [
    "HandshakeKeys",
    "accept",
    "challenge",
    "decode_hello",
    "encode_hello",
    "nonce",
    "respond",
    "token_mismatch_error",
    "token_required_error",
    "token_unset_error",
]

#: Bytes of a challenge, at most.
_MAX_CHALLENGE = 4 << 10


class HandshakeKeys(NamedTuple):
    """What a handshake led to: keys, and the secret that both ends know."""

    keys: Keys
    secret: bytes

    def still_accepted_by(self, keyring: Keyring) -> bool:
        """Return whether that secret is still accepted."""
        return self.secret in keyring.current.admins


def nonce() -> bytes:
    """Return bytes that were never used before."""
    return secrets.token_bytes(proof.NONCE)


def encode_hello(sender: str, to: str, cluster_id: str, cluster_name: str) -> bytes:
    """Return what a client says first, where the transport has no hello of its own.

    :param to: the id of the server that is meant; "" for whoever is there.
    """
    packed: bytes = msgpack.packb([nonce(), sender, to, cluster_id, cluster_name])
    return packed


def decode_hello(data: bytes) -> tuple[str, str]:
    """Return sender and server of :func:`encode_hello`. :raises DecodeError: it is none."""
    try:
        number, sender, to, cluster_id, cluster_name = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"not a hello: {error}") from error
    if not isinstance(number, bytes) or len(number) != proof.NONCE:
        raise DecodeError("not a hello: no nonce")
    if not all(isinstance(each, str) for each in (sender, to, cluster_id, cluster_name)):
        raise DecodeError("not a hello: no ids")
    return sender, to


def challenge(
    keyring: Keyring, transport: str, hello: bytes, server_id: str, number: bytes
) -> tuple[bytes, bytes]:
    """Answer a hello: return the challenge to send, and its part that :func:`accept` needs again.

    :param number: the server's nonce.
    """
    core: bytes = msgpack.packb([number, server_id])
    transcript = proof.transcript_of(transport, hello, core)
    offered = proof.server_proofs(keyring.current.admins, transcript)
    packed: bytes = msgpack.packb([core, offered])
    return packed, core


def respond(
    keyring: Keyring, transport: str, hello: bytes, packed: bytes, address: str
) -> tuple[bytes, bytes, HandshakeKeys]:
    """Answer a challenge, if the server proved itself.

    Returns our proof, the part of the challenge that :func:`accept` needs, and what it led to.

    :raises DecodeError: it is none.
    :raises AccessDenied: the server at ``address`` knows none of our tokens. Nothing may be sent.
    """
    core, offered = _decode(packed)
    transcript = proof.transcript_of(transport, hello, core)
    secret = proof.server_secret(keyring.current.admins, transcript, offered)
    if secret is None:
        raise token_mismatch_error(address)
    proven = HandshakeKeys(Keys.derive(secret, transcript), secret)
    return proof.client_proof(secret, transcript), core, proven


def accept(
    keyring: Keyring, transport: str, hello: bytes, core: bytes, given: bytes
) -> HandshakeKeys | None:
    """Return what a client's proof led to, ``None`` if it is wrong."""
    transcript = proof.transcript_of(transport, hello, core)
    secret = proof.client_secret(keyring.current.admins, transcript, given)
    return HandshakeKeys(Keys.derive(secret, transcript), secret) if secret is not None else None


def _decode(packed: bytes) -> tuple[bytes, list[bytes]]:
    if len(packed) > _MAX_CHALLENGE:
        raise DecodeError(f"a challenge of {len(packed)} bytes; at most {_MAX_CHALLENGE}")
    try:
        core, offered = msgpack.unpackb(packed)
        number, server_id = msgpack.unpackb(core)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"not a challenge: {error}") from error
    if (
        not (isinstance(number, bytes) and len(number) == proof.NONCE)
        or not isinstance(server_id, str)
        or not isinstance(offered, list)
        or len(offered) > proof.MAX_PROOFS
        or not all(isinstance(each, bytes) for each in offered)
    ):
        raise DecodeError("not a challenge")
    return core, offered


def token_required_error(address: str) -> AccessDenied:
    """Return the refusal of a caller that proves nothing."""
    return AccessDenied(
        f"{address} asks for a token and none was sent: set BRAFT_TOKEN, the same on every node "
        "(other clients: 'authorization: Bearer <token>')",
        address=address,
    )


def token_mismatch_error(address: str) -> AccessDenied:
    """Return the error of a client to which the server proved nothing."""
    return AccessDenied(
        f"{address} does not know the token of this node: BRAFT_TOKEN must be the same on every "
        "node",
        address=address,
    )


def token_unset_error(address: str) -> AccessDenied:
    """Return the refusal of a caller whose token cannot be proved to it."""
    return AccessDenied(
        f"{address} has no token, and so cannot prove who it is: BRAFT_TOKEN must be the same on "
        "every node",
        address=address,
    )
