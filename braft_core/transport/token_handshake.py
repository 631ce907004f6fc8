"""Both ends of the token handshake: its messages in bytes, for every transport.

:mod:`braft_core.proof` has the computations; each transport carries the messages its own way.
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
    """The result of a handshake: derived keys, and the token that both ends share."""

    keys: Keys
    secret: bytes

    def still_accepted_by(self, keyring: Keyring) -> bool:
        """Return whether the token is still accepted."""
        return self.secret in keyring.current.admins


def nonce() -> bytes:
    """Return fresh random bytes."""
    return secrets.token_bytes(proof.NONCE)


def encode_hello(sender: str, to: str, cluster_id: str, cluster_name: str) -> bytes:
    """Encode a client's first message, for transports without a hello of their own.

    :param to: id of the intended server; "" for any server at the address.
    """
    packed: bytes = msgpack.packb([nonce(), sender, to, cluster_id, cluster_name])
    return packed


def decode_hello(data: bytes) -> tuple[str, str]:
    """Return sender and server of :func:`encode_hello`. :raises DecodeError: it is malformed."""
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
    """Answer a hello: return the challenge to send, and the part that :func:`accept` needs.

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

    Returns our proof, the part of the challenge that :func:`accept` needs, and the keys.

    :raises DecodeError: it is malformed.
    :raises AccessDenied: the server at ``address`` has none of our tokens; send it nothing.
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
    """Return the keys if a client's proof is right, else ``None``."""
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
    """Return the refusal of a caller that sends no proof."""
    return AccessDenied(
        f"{address} asks for a token and none was sent: set BRAFT_TOKEN, the same on every node "
        "(other clients: 'authorization: Bearer <token>')",
        address=address,
    )


def token_mismatch_error(address: str) -> AccessDenied:
    """Return the client's error for a server that could not prove the token."""
    return AccessDenied(
        f"{address} does not know the token of this node: BRAFT_TOKEN must be the same on every "
        "node",
        address=address,
    )


def token_unset_error(address: str) -> AccessDenied:
    """Return the error for a node without a token, which cannot prove itself to the caller."""
    return AccessDenied(
        f"{address} has no token, and so cannot prove who it is: BRAFT_TOKEN must be the same on "
        "every node",
        address=address,
    )
