"""The HTTP face of a node: a Falcon application, and Waitress to serve it.

Resources translate: parameters, headers and bodies into calls of
:class:`~braft_core.abc.NodeAPI`, answers and errors into JSON. They decide nothing and know
nothing of consensus; any object with NodeAPI's methods can stand behind them.
"""

from __future__ import annotations

from braft_core.http.app import make_app
from braft_core.http.server import HTTPServer

__all__ = ["HTTPServer", "make_app"]
