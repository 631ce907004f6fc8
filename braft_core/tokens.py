"""Tokens and their roles: what a secret may do, and which role each action needs.

Owns the decision alone; HTTP and gRPC ask the same functions. Knows nothing of files, settings or
connections. A secret never gets into a repr, an error or a log line.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = [
    "ACCEPTED",
    "MIN_LENGTH",
    "REFLECTION",
    "Keyring",
    "Role",
    "Token",
    "Tokens",
    "bearer",
    "role_for_http",
    "role_for_rpc",
    "secret_of",
]

#: Shorter secrets can be guessed from one recorded handshake.
MIN_LENGTH = 16
ACCEPTED = (
    f"one or more secrets of {MIN_LENGTH} visible ASCII characters or more, separated by commas, "
    "each with 'read:', 'write:' or 'admin:' before it or nothing (admin), and at least one for "
    'admin; python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
)


class Role(IntEnum):
    """The rights of a token. Each role includes the ones before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()


_PREFIXES = {f"{role}:": role for role in Role}


@dataclass(frozen=True, slots=True)
class Token:
    """A secret and its role."""

    role: Role
    secret: str = field(repr=False)


class Tokens:
    """All tokens that a node accepts. Immutable; any thread."""

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._tokens = tuple(tokens)
        self._digests = [(_digest(token.secret.encode()), token.role) for token in self._tokens]
        #: The secrets by which nodes prove themselves; the first is used for our own proofs.
        self.admins = tuple(t.secret.encode() for t in self._tokens if t.role is Role.ADMIN)

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """Parse the value of ``BRAFT_TOKEN``.

        :raises ValueError: saying what is wrong, without the secret.
        """
        return cls._checked(text.split(","))

    @classmethod
    def parse_lines(cls, text: str) -> Tokens:
        """Parse the contents of ``BRAFT_TOKEN_FILE``: a token per line, comments after ``#``.

        :raises ValueError: saying what is wrong, without the secret.
        """
        lines = (line.strip() for line in text.splitlines())
        return cls._checked([line for line in lines if line and not line.startswith("#")])

    @classmethod
    def _checked(cls, texts: list[str]) -> Tokens:
        tokens = [_token(text.strip(), number) for number, text in enumerate(texts, 1)]
        if len({token.secret for token in tokens}) != len(tokens):
            raise ValueError("a secret is given twice")
        if not any(token.role is Role.ADMIN for token in tokens):
            raise ValueError("no token has the role admin, by which nodes prove who they are")
        return cls(tokens)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and self._tokens == other._tokens

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __repr__(self) -> str:
        return f"Tokens({', '.join(str(token.role) for token in self._tokens)})"

    @property
    def first(self) -> str:
        """The first admin secret, which this node's own calls use; "" without tokens."""
        return self.admins[0].decode() if self.admins else ""

    def role_of(self, given: bytes) -> Role | None:
        """Return the role of a secret, or ``None`` if this node does not accept it.

        All secrets are compared, as digests of equal length, so that the time reveals neither which
        one matched nor how long they are.
        """
        digest, found = _digest(given), 0
        for known, role in self._digests:
            found = max(found, role * hmac.compare_digest(digest, known))
        return Role(found) if found else None


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _token(text: str, number: int) -> Token:
    role, secret = _split(text)
    if not all("!" <= char <= "~" for char in secret):
        raise ValueError(f"token {number} has blanks or characters that are not visible ASCII")
    if len(secret) < MIN_LENGTH:
        raise ValueError(f"token {number} has fewer than {MIN_LENGTH} characters")
    return Token(role, secret)


def _split(text: str) -> tuple[Role, str]:
    for prefix, role in _PREFIXES.items():
        if text.startswith(prefix):
            return role, text[len(prefix) :]
    return Role.ADMIN, text


def secret_of(text: str) -> str:
    """Return the secret that a client sends: the first one in a value of ``BRAFT_TOKEN``.

    A role in front of it is dropped, because the nodes decide what the secret may do.
    """
    return _split(text.partition(",")[0].strip())[1]


class Keyring:
    """The tokens in use. Any thread: read :attr:`current` once per decision."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self.current = tokens if tokens is not None else Tokens()

    @classmethod
    def of(cls, text: str) -> Keyring:
        """Make a keyring from the value of ``BRAFT_TOKEN``; "" means no token.

        :raises ValueError: saying what is wrong, without the secret.
        """
        return cls(Tokens.parse(text) if text else None)

    def __repr__(self) -> str:
        return f"Keyring({self.current!r})"


def bearer(header: bytes) -> bytes:
    """Return the secret of ``Bearer <secret>``, or b"" for another header."""
    scheme, _, given = header.partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else b""


# ------------------------------------------------------------------------- roles of actions

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Changes that concern the cluster, not its data.
_ADMIN_PATHS = ("/v1/members", "/v1/leader", "/v1/snapshots", "/v1/store/compact")
_SNAPSHOTS = "/v1/snapshots/"
#: The method of gRPC's reflection.
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
#: ``ApplyLog`` takes an encoded entry, which may address the cluster's own bookkeeping.
_RPC_ROLES = {
    "/Raft/ApplyLog": Role.ADMIN,
    "/Raft/GetDetails": Role.READ,
    REFLECTION: Role.READ,
}


def role_for_http(method: str, path: str) -> Role:
    """Return the role that a request needs.

    A snapshot holds all data, so its download needs ``admin``; listing snapshots does not. Routes
    of plugins need ``read`` or ``write``, by their method.
    """
    safe = method.upper() in _SAFE
    if path.startswith(_SNAPSHOTS) and path.strip("/").count("/") > 1:
        return Role.ADMIN
    if safe:
        return Role.READ
    administers = any(path == p or path.startswith(f"{p}/") for p in _ADMIN_PATHS)
    return Role.ADMIN if administers else Role.WRITE


def role_for_rpc(method: str) -> Role | None:
    """Return the role that a method needs.

    ``None``: not even ``admin`` may call it; only a node that proved itself may.
    """
    return _RPC_ROLES.get(method)
