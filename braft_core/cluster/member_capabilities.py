"""The capabilities that servers have declared."""

from __future__ import annotations

from collections.abc import Iterable

from braft_core.services.capabilities import Capabilities

__all__ = ["MemberCapabilities"]


#: Most servers whose capabilities are remembered: more than a cluster has.
MAX_DECLARATIONS = 1024


class MemberCapabilities:
    """The last declaration of each server. Use on the node's loop only."""

    def __init__(self) -> None:
        self._by_id: dict[str, Capabilities] = {}
        #: Incremented by every change.
        self.version = 0

    def learn(self, server_id: str, data: bytes) -> None:
        """Store a declaration; ignore an empty one.

        :raises DecodeError: if it is malformed; the previous declaration stays.
        """
        if not data:
            return
        declared = Capabilities.decode(data)
        before = self._by_id.pop(server_id, None)
        self._by_id[server_id] = declared
        # Any caller may declare for any id. Members repeat theirs, so the oldest is no member's.
        if len(self._by_id) > MAX_DECLARATIONS:
            del self._by_id[next(iter(self._by_id))]
        self.version += before != declared

    def of(self, server_id: str) -> Capabilities | None:
        """Return the last declaration of that server, ``None`` if it made none."""
        return self._by_id.get(server_id)

    def forget_except(self, server_ids: Iterable[str]) -> None:
        """Drop the declarations of all other servers."""
        kept = set(server_ids)
        if not kept.issuperset(self._by_id):
            self._by_id = {key: value for key, value in self._by_id.items() if key in kept}
            self.version += 1
