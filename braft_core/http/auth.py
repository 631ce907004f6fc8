"""Who may call: one bearer token for everything but the health checks.

Owns the check alone. Where no token is set, everybody may; warning about that is the node's job.
"""

from __future__ import annotations

import hmac

import falcon

__all__ = ["OPEN_PATHS", "BearerAuth"]

#: Answered without a token: orchestrators have none, and the answers reveal nothing.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class BearerAuth:
    """Falcon middleware: 401 without a token, 403 with a wrong one."""

    def __init__(self, token: str) -> None:
        """:param token: the expected token; "" lets everybody in."""
        self._token = token.encode()

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse the request before routing, so that paths cannot be probed either."""
        if not self._token or req.path in OPEN_PATHS:
            return
        scheme, _, given = (req.get_header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise falcon.HTTPUnauthorized(
                description="this node asks for 'Authorization: Bearer <token>' (BRAFT_TOKEN)",
                challenges=["Bearer"],
            )
        # Header text arrives as latin-1; back to the bytes that were sent.
        if not hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token):
            raise falcon.HTTPForbidden(description="the bearer token is not this cluster's")
