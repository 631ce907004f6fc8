"""The end of a request: what is done then, and how a long answer learns that its caller has gone.

An answer that waits between its parts sends nothing meanwhile, so it would learn it late. And if
not even its head can be sent, nobody reads or closes the body that it would have had.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from braft_core.errors import BraftError
from braft_core.http.problems import ClientDisconnected

__all__ = ["REQUEST_END", "RequestEnd"]

#: Key in the ASGI scope of a request.
REQUEST_END: Final = "braft.request_end"


class RequestEnd:
    """The end of one request. For its event loop."""

    __slots__ = ("_actions", "_receive")

    def __init__(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._receive = receive
        self._actions: list[Callable[[], None]] = []

    def call(self, action: Callable[[], None]) -> None:
        """Call ``action`` at the end of the request, however it ends."""
        self._actions.append(action)

    def run(self) -> None:
        """Make the calls."""
        for action in self._actions:
            action()

    async def disconnected(self) -> None:
        """Wait until the caller has disconnected. With Waitress that is not noticed."""
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except (ClientDisconnected, BraftError):
            # A body that is refused; nobody else reads it.
            return
