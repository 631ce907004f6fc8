"""The service ``Auth``, and who may call: the node's tokens in etcd's manner.

``Authenticate`` takes any name, and a token of the node as the password. It answers a signed token,
which calls carry as metadata. Users and roles of etcd do not exist: a token's role is that of
``BRAFT_TOKEN``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

from braft_core.auth_failures import AuthFailures
from braft_core.http2 import Call, CallFailed, Status
from braft_core.tokens import Keyring, Role, Tokens, bearer
from braft_etcd.backend import Backend
from braft_etcd.errors import failure, unsupported
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.wire import Values

__all__ = ["Access", "AuthHandlers"]

#: For which a signed token is accepted, seconds.
_LIFETIME: Final = 24 * 3600
_PURPOSE: Final = b"braft-etcd signed token 1\0"
_PAYLOAD: Final = re.compile(rb"([123])\.(\d{1,12})")
#: An empty response with a header alone.
_EMPTY: Final = "CompactionResponse"
_CHANGES: Final = (
    ("AuthEnable", "AuthEnableRequest"),
    ("AuthDisable", "AuthDisableRequest"),
    ("UserAdd", "AuthUserAddRequest"),
    ("UserGet", "AuthUserGetRequest"),
    ("UserDelete", "AuthUserDeleteRequest"),
    ("UserChangePassword", "AuthUserChangePasswordRequest"),
    ("UserGrantRole", "AuthUserGrantRoleRequest"),
    ("UserRevokeRole", "AuthUserRevokeRoleRequest"),
    ("RoleAdd", "AuthRoleAddRequest"),
    ("RoleGet", "AuthRoleGetRequest"),
    ("RoleDelete", "AuthRoleDeleteRequest"),
    ("RoleGrantPermission", "AuthRoleGrantPermissionRequest"),
    ("RoleRevokePermission", "AuthRoleRevokePermissionRequest"),
)


class Access:
    """Decides who may call. Any thread."""

    def __init__(self, keyring: Keyring, wall: Callable[[], float]) -> None:
        """Take the tokens of the node.

        :param wall: returns seconds since the epoch.
        """
        self._keyring = keyring
        self._wall = wall
        self._failures = AuthFailures("the etcd API")

    @property
    def enabled(self) -> bool:
        """Whether calls need a token."""
        return bool(self._keyring.current)

    async def issue(self, password: bytes, call: Call) -> str:
        """Return a signed token for a token of the node. :raises CallFailed: it is none."""
        tokens = self._keyring.current
        role = tokens.role_of(password)
        if role is None:
            text = "authentication failed, invalid user ID or password"
            raise await self._refused(call, failure(Status.INVALID_ARGUMENT, text))
        payload = b"%d.%d" % (role, int(self._wall()) + _LIFETIME)
        signed = payload + b"." + _sign(tokens.admins[0], payload).encode()
        return base64.urlsafe_b64encode(signed).decode().rstrip("=")

    async def check(self, call: Call, role: Role | None) -> None:
        """Let a call in. Log who is refused, and answer late, to slow down guessing.

        :raises CallFailed: it needs a token, has a wrong one, or one that does not suffice.
        """
        tokens = self._keyring.current
        if not tokens or role is None:
            return
        given = _given(call)
        if not given:
            text = "user name is empty"
            raise await self._refused(call, failure(Status.INVALID_ARGUMENT, text))
        found = tokens.role_of(given) or self._role_of_signed(tokens, given)
        if found is None:
            text = "invalid auth token"
            raise await self._refused(call, failure(Status.UNAUTHENTICATED, text))
        if found < role:
            text = "permission denied"
            raise await self._refused(call, failure(Status.PERMISSION_DENIED, text))

    async def _refused(self, call: Call, answer: CallFailed) -> CallFailed:
        """Return the answer to a caller without the right, after a while."""
        self._failures.record(call.peer.address.rpartition(":")[0])
        await self._failures.delay_answer()
        return answer

    def _role_of_signed(self, tokens: Tokens, given: bytes) -> Role | None:
        try:
            signed = base64.b64decode(given + b"=" * (-len(given) % 4), b"-_", validate=True)
        except binascii.Error:
            return None
        payload, _, mac = signed.rpartition(b".")
        found = _PAYLOAD.fullmatch(payload)
        # All secrets are tried, so that the time does not say which one matched.
        matches = [hmac.compare_digest(_sign(key, payload).encode(), mac) for key in tokens.admins]
        if found is None or not any(matches) or int(found[2]) < self._wall():
            return None
        return Role(int(found[1]))


def _sign(secret: bytes, payload: bytes) -> str:
    return hmac.new(secret, _PURPOSE + payload, hashlib.sha256).hexdigest()


def _given(call: Call) -> bytes:
    """Return the token that a call carries, b"" without one."""
    for name, value in call.metadata:
        if name == b"token":
            return value
        if name == b"authorization":
            return bearer(value) or value
    return b""


class AuthHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        changes = tuple(
            rpc(f"Auth/{name}", self.refuse, role=Role.ADMIN, request=request, response=_EMPTY)
            for name, request in _CHANGES
        )
        return (
            rpc("Auth/AuthStatus", self.status, role=None),
            rpc("Auth/Authenticate", self.authenticate, role=None),
            rpc(
                "Auth/UserList",
                self.nobody,
                role=Role.ADMIN,
                request="AuthUserListRequest",
                response="AuthUserListResponse",
            ),
            rpc(
                "Auth/RoleList",
                self.nobody,
                role=Role.ADMIN,
                request="AuthRoleListRequest",
                response="AuthRoleListResponse",
            ),
            *changes,
        )

    async def status(self, _request: Values, _call: Call) -> Values:
        """Return whether calls need a token."""
        header = self._backend.header(self._backend.revision)
        return {"header": header, "enabled": self._access.enabled}

    async def authenticate(self, request: Values, call: Call) -> Values:
        """Answer a signed token for a password that is a token of the node."""
        if not self._access.enabled:
            raise failure(Status.FAILED_PRECONDITION, "authentication is not enabled")
        token = await self._access.issue(request["password"].encode(), call)
        return {"header": self._backend.header(self._backend.revision), "token": token}

    async def nobody(self, _request: Values, _call: Call) -> Values:
        """List no users and no roles."""
        return {"header": self._backend.header(self._backend.revision)}

    async def refuse(self, _request: Values, _call: Call) -> Values:
        """Refuse changes of users and roles."""
        raise _no_users()


def _no_users() -> CallFailed:
    return unsupported(
        "managing users and roles", "give the nodes tokens with roles by BRAFT_TOKEN"
    )
