"""Detection of two processes with one server id, usually after a data directory was copied.

Owns which of them is the member, and the refusal of the other. A member that restarts at another
address looks the same; the difference is whether a process still answers at the old address. Use on
the node's loop only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from braft_core.cluster.address_book import AddressBook, contact_at
from braft_core.cluster.interface import MembershipHost
from braft_core.cluster.messages import duplicate_id_message
from braft_core.cluster.probes import Prober
from braft_core.errors import BraftError, Conflict, DecodeError
from braft_core.peer import AnnounceRequest, ProbeReply

__all__ = ["DuplicateIDs"]


class DuplicateIDs:
    """Detects servers that share an id, usually a copied data directory."""

    def __init__(self, host: MembershipHost, prober: Prober, book: AddressBook) -> None:
        self._host, self._prober, self._book = host, prober, book
        #: The message, if other members refuse us because our id answers at another address.
        self.conflict = ""
        self._seen, self._seen_at = "", -inf

    @property
    def message(self) -> str:
        """The message about a duplicate of our id, "" if none is known."""
        return self.conflict or self._seen

    async def check(self, request: AnnounceRequest) -> None:
        """Check that the server of an announcement no longer answers at its old address.

        :raises Conflict: if it does: two processes share the id, and both could get votes for it.
        """
        identity = self._host.identity
        if request.server_id == identity.server_id:
            if request.address != identity.address:
                self._note_seen([request.address])
                raise self._conflict(request, identity.address)
            return
        known = self._book.get(request.server_id)
        if known and known != request.address and await self._answers(request.server_id, known):
            raise self._conflict(request, known)

    def _note_seen(self, addresses: Sequence[str]) -> None:
        identity = self._host.identity
        self._seen_at = self._host.now()
        self._seen = duplicate_id_message(identity.server_id, [identity.address, *addresses])

    async def _answers(self, server_id: str, address: str) -> bool:
        try:
            reply = await self._prober.probe(contact_at(address, "address book"))
        except (BraftError, DecodeError):
            return False
        # One process may be reachable at both addresses; it reports the one that it advertises.
        return reply.server_id == server_id and reply.address == address

    def _conflict(self, request: AnnounceRequest, known: str) -> Conflict:
        return Conflict(
            duplicate_id_message(request.server_id, [known, request.address]),
            server_id=request.server_id,
            address=known,
            witness=self._host.identity.server_id,
        )

    def note_announced(self, errors: Iterable[BraftError | None]) -> None:
        """Note the results of a round of announcements.

        Ignore refusals by the duplicate itself; only third parties count.
        """
        own = self._host.identity.server_id
        self.conflict = next(
            (
                error.message
                for error in errors
                if isinstance(error, Conflict) and error.data.get("witness") not in (None, own)
            ),
            "",
        )

    def unique(self, replies: Sequence[ProbeReply]) -> list[ProbeReply]:
        """Return the replies with a unique server id; note duplicates of our own."""
        identity = self._host.identity
        where: dict[str, set[str]] = {identity.server_id: {identity.address}}
        for reply in replies:
            where.setdefault(reply.server_id, set()).add(reply.address)
        if duplicates := sorted(where[identity.server_id] - {identity.address}):
            self._note_seen(duplicates)
        elif self._host.now() - self._seen_at > self._host.settings.timing.duplicate_reported:
            self._seen = ""
        return [reply for reply in replies if len(where[reply.server_id]) == 1]
