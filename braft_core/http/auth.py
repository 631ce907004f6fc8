"""Bearer tokens: every request but health checks needs a token whose role allows it.

:mod:`braft_core.tokens` decides what a role may do. Without a configured token everybody may call;
the node warns about that.
"""

from __future__ import annotations

import falcon
from falcon.asgi import Request, Response

from braft_core.audit import audit
from braft_core.auth_failures import AuthFailures
from braft_core.tokens import Keyring, Role, bearer, role_for_http

__all__ = ["OPEN_PATHS", "ROLE", "Audit", "BearerAuth", "check"]

#: Served without a token: orchestrators have none, and the answers reveal nothing.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

#: Key in the ASGI scope of an authorized request: the role of its token.
ROLE = "braft.role"


class BearerAuth:
    """Checks tokens: 401 without a token, 403 with a wrong one or an insufficient role."""

    def __init__(self, keyring: Keyring) -> None:
        """Create the check.

        :param keyring: the tokens that are accepted; an empty one accepts every caller.
        """
        self._keyring = keyring
        self._auth_failures = AuthFailures("HTTP")

    def authorize(
        self, method: str, path: str, authorization: str | None, address: str
    ) -> Role | None:
        """Check a request before routing, so that paths cannot be probed; see :func:`check`.

        :param address: the caller's, for the log.
        """
        try:
            return check(self._keyring, method, path, authorization)
        except falcon.HTTPError:
            self._auth_failures.record(address)
            raise

    async def delay_denial(self) -> None:
        """Delay the answer to a wrong token, to slow down guessing."""
        await self._auth_failures.delay_answer()


class Audit:
    """Falcon middleware: writes administrative requests to the audit log."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Log the request if it succeeded and needed the role ``admin``."""
        if not req_succeeded or resource is None:
            return
        if role_for_http(req.method, req.path) is not Role.ADMIN:
            return
        role = req.scope.get(ROLE)
        by = f"{req.remote_addr} ({f'role {role}' if role else 'no token is required'})"
        index = resp.get_header("Braft-Snapshot-Index")
        audit(f"{req.method} {req.path}", by=by, **({"index": index} if index else {}))


def check(keyring: Keyring, method: str, path: str, authorization: str | None) -> Role | None:
    """Return the role of the caller's token, ``None`` where no token is required.

    :param authorization: the header, decoded as latin-1.
    :raises falcon.HTTPError: the request is refused.
    """
    tokens = keyring.current
    if not tokens or path in OPEN_PATHS:
        return None
    given = bearer((authorization or "").encode("latin-1", "replace"))
    if not given:
        raise falcon.HTTPUnauthorized(
            description="this node requires 'Authorization: Bearer <token>' (BRAFT_TOKEN)",
            challenges=["Bearer"],
        )
    role = tokens.role_of(given)
    if role is None:
        raise falcon.HTTPForbidden(description="the bearer token is not accepted by this cluster")
    needed = role_for_http(method, path)
    if role < needed:
        raise falcon.HTTPForbidden(
            description=f"a token with the role {role} was sent; {method} here needs {needed}"
        )
    return role
