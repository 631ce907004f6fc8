"""Two processes with one node id: a data directory was copied, and both run.

Owns the question which of them is the member, and what the other one is told. A member that comes
back at another address looks the same from afar; what tells them apart is whether somebody still
answers at the old one. Used on the node's loop alone.
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

#: Seconds for which another one with our id is spoken of after its last sign of life.
REMEMBERED = 5.0


class DuplicateIDs:
    """What one member knows of others with its id, or with each other's."""

    def __init__(self, ports: MembershipHost, prober: Prober, book: AddressBook) -> None:
        self._ports, self._prober, self._book = ports, prober, book
        #: The sentence, if other members say that they have a member of our id elsewhere.
        self.refused = ""
        self._met, self._met_at = "", -inf

    @property
    def sentence(self) -> str:
        """What is known about another one with our id, "" if nothing is."""
        return self.refused or self._met

    async def check(self, request: AnnounceRequest) -> None:
        """A member says that it is at another address: look whether it is still at the old one.

        :raises Conflict: it is, so these are two. Both would get votes for one id.
        """
        identity = self._ports.identity
        if request.server_id == identity.server_id:
            if request.address != identity.address:
                self._meet([request.address])
                raise self._conflict(request, identity.address)
            return
        known = self._book.get(request.server_id)
        if known and known != request.address and await self._answers(request.server_id, known):
            raise self._conflict(request, known)

    def _meet(self, addresses: Sequence[str]) -> None:
        identity = self._ports.identity
        self._met_at = self._ports.now()
        self._met = duplicate_id_message(identity.server_id, [identity.address, *addresses])

    async def _answers(self, server_id: str, address: str) -> bool:
        try:
            reply = await self._prober.probe(contact_at(address, "address book"))
        except (BraftError, DecodeError):
            return False
        # The same process may be reached at both, and says where it wants to be.
        return reply.server_id == server_id and reply.address == address

    def _conflict(self, request: AnnounceRequest, known: str) -> Conflict:
        return Conflict(
            duplicate_id_message(request.server_id, [known, request.address]),
            server_id=request.server_id,
            address=known,
            witness=self._ports.identity.server_id,
        )

    def answered(self, errors: Iterable[BraftError | None]) -> None:
        """What came of a round of announcements.

        The twin itself refuses too, and is refused by it: the word of the others decides.
        """
        own = self._ports.identity.server_id
        self.refused = next(
            (
                error.message
                for error in errors
                if isinstance(error, Conflict) and error.data.get("witness") not in (None, own)
            ),
            "",
        )

    def single(self, replies: Sequence[ProbeReply]) -> list[ProbeReply]:
        """Those of one round whose id no other address has; a twin is met, and not believed."""
        identity = self._ports.identity
        where: dict[str, set[str]] = {identity.server_id: {identity.address}}
        for reply in replies:
            where.setdefault(reply.server_id, set()).add(reply.address)
        if twins := sorted(where[identity.server_id] - {identity.address}):
            self._meet(twins)
        elif self._ports.now() - self._met_at > REMEMBERED:
            self._met = ""
        return [reply for reply in replies if len(where[reply.server_id]) == 1]
