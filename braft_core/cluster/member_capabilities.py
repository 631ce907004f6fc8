"""What servers have said that they can execute."""

from __future__ import annotations

from collections.abc import Iterable

from braft_core.services.capabilities import Capabilities

__all__ = ["MemberCapabilities"]


#: Most servers whose capabilities are remembered: more than a cluster has.
MOST_DECLARATIONS = 1024


class MemberCapabilities:
    """The last declaration of each server. Used on the loop alone."""

    def __init__(self) -> None:
        self._by_id: dict[str, Capabilities] = {}
        #: Rises with every change.
        self.version = 0

    def learn(self, server_id: str, data: bytes) -> None:
        """Remember a declaration; an empty one says nothing.

        :raises DecodeError: it is no declaration; what was known before stays.
        """
        if not data:
            return
        declared = Capabilities.decode(data)
        before = self._by_id.pop(server_id, None)
        self._by_id[server_id] = declared
        # Anybody may declare for any id. Members do so again and again: the oldest is none's.
        if len(self._by_id) > MOST_DECLARATIONS:
            del self._by_id[next(iter(self._by_id))]
        self.version += before != declared

    def of(self, server_id: str) -> Capabilities | None:
        """Return what that server declared last, ``None`` if nothing."""
        return self._by_id.get(server_id)

    def forget_except(self, server_ids: Iterable[str]) -> None:
        """Drop what other servers declared."""
        kept = set(server_ids)
        if not kept.issuperset(self._by_id):
            self._by_id = {key: value for key, value in self._by_id.items() if key in kept}
            self.version += 1
