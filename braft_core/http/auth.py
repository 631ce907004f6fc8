"""Who may call: a token whose role allows the request, for everything but the health checks.

Owns the HTTP form of the question; what a token may do is decided in :mod:`braft_core.tokens`.
Where no token is set, everybody may; warning about that is the node's job.
"""

from __future__ import annotations

import asyncio

import falcon
from falcon.asgi import Request, Response

from braft_core.audit import audit
from braft_core.tokens import Keyring, Role, bearer, role_for_http
from braft_core.transport.auth_failures import AuthFailures

__all__ = ["OPEN_PATHS", "ROLE", "Audit", "BearerAuth", "check"]

#: Answered without a token: orchestrators have none, and the answers reveal nothing.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

#: In the scope of a request that was let in: the role of its token.
ROLE = "braft.role"


class BearerAuth:
    """401 without a token, 403 with a wrong one or one of a lesser role."""

    def __init__(self, keyring: Keyring) -> None:
        """:param keyring: the tokens that are accepted; none lets everybody in."""
        self._keyring = keyring
        self._auth_failures = AuthFailures("HTTP")

    def judge(self, method: str, path: str, authorization: str | None, address: str) -> Role | None:
        """Judge a request before routing, so that paths cannot be probed either; see :func:`check`.

        :param address: whose it is, for the log.
        """
        try:
            return check(self._keyring, method, path, authorization)
        except falcon.HTTPError:
            self._auth_failures.record(address)
            raise

    async def delay_denial(self) -> None:
        """Wait before a wrong token is answered: many guesses take long, and hold nothing."""
        delay = self._auth_failures.delay()
        if not delay:
            return
        try:
            await asyncio.sleep(delay)
        finally:
            self._auth_failures.delay_ended()


class Audit:
    """Falcon middleware: tells the audit log what was done to the cluster, or taken from it."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Log the request, if it needed the role for that and succeeded."""
        if not req_succeeded or resource is None:
            return
        if role_for_http(req.method, req.path) is not Role.ADMIN:
            return
        role = req.scope.get(ROLE)
        by = f"{req.remote_addr} ({f'role {role}' if role else 'no token is asked for'})"
        index = resp.get_header("Braft-Snapshot-Index")
        audit(f"{req.method} {req.path}", by=by, **({"index": index} if index else {}))


def check(keyring: Keyring, method: str, path: str, authorization: str | None) -> Role | None:
    """Return the role of the caller's token; ``None`` where none is asked for.

    :param authorization: the header, as WSGI and ASGI hand it out: latin-1.
    :raises falcon.HTTPError: the request is refused.
    """
    tokens = keyring.current
    if not tokens or path in OPEN_PATHS:
        return None
    given = bearer((authorization or "").encode("latin-1", "replace"))
    if not given:
        raise falcon.HTTPUnauthorized(
            description="this node asks for 'Authorization: Bearer <token>' (BRAFT_TOKEN)",
            challenges=["Bearer"],
        )
    role = tokens.role_of(given)
    if role is None:
        raise falcon.HTTPForbidden(description="the bearer token is not this cluster's")
    needed = role_for_http(method, path)
    if role < needed:
        raise falcon.HTTPForbidden(
            description=f"a token with the role {role} was sent; {method} here needs {needed}"
        )
    return role
