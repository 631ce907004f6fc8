"""The HTTP interface of a node: a Falcon application, served by uvicorn or Waitress.

Resources translate parameters, headers and bodies into calls of
:class:`~braft_core.abc.NodeAPI`, and results and errors into JSON. They hold no logic and know
nothing of consensus: any object with NodeAPI's methods will do.
"""

from __future__ import annotations

from braft_core.http.app import make_app
from braft_core.http.server import HTTPServer

__all__ = ["HTTPServer", "make_app"]
