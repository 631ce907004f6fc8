"""``store``: a flat keyspace of bytes with revisions, transactions, history and leases.

Each command that changes a key makes one revision. Older revisions can be read until they are
compacted. A command that is refused changes nothing, not even in part.

``docs/store.md`` describes commands, queries and errors. Everything here is pure and deterministic:
equal commands give equal states, answers and snapshots on every node.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgpack

from braft_core.abc import SlicedCapture
from braft_core.errors import DecodeError, InvalidArgument
from braft_core.services.service import command, query
from braft_core.services.store.index import retained
from braft_core.services.store.lease_commands import LeaseCommands
from braft_core.services.store.limits import check_number, shown
from braft_core.services.store.ranges import RangeOp, read_range
from braft_core.services.store.records import MOD, whole
from braft_core.services.store.snapshot import Capture, check, load
from braft_core.services.store.txn import DeleteOp, Outcome, Plan, PutOp, TxnOp

__all__ = ["StoreService", "Upkeep"]

#: The rules by which this code executes commands.
_RULES: Final = 1
#: Alarms, as etcd numbers them, and what ``alarm`` does.
_NO_SPACE, _CORRUPT = 1, 2
_GET, _ACTIVATE, _DEACTIVATE = range(3)
_MAX_ALARMS: Final = 1_024
#: The most servers whose addresses are announced, and characters of what each announces.
_MAX_MEMBERS: Final = 1_024
_MAX_TEXT: Final = 4_096
#: Bytes of events in one answer by default.
_EVENT_BYTES: Final = 1 << 20
#: Bytes of events in one piece by default. To make one takes about a millisecond.
_PIECE_BYTES: Final = 256 << 10


class Upkeep(NamedTuple):
    """Numbers by which the leader compacts and configures the store."""

    #: 1 for a store that was never written.
    revision: int
    compacted: int
    quota: int


class StoreService(LeaseCommands):
    """The store. A command that raises an error changes nothing."""

    name = "store"
    #: Answers are lists of immutable records.
    answers_are_fresh = True
    code_modules = tuple(
        f"{__name__}.{module}"
        for module in "history index keyspace leases limits ranges records snapshot txn".split()
    )

    def __init__(self) -> None:
        super().__init__()
        #: (member, alarm) of the alarms that are raised, in the order in which they were.
        self._alarms: dict[tuple[int, int], None] = {}
        #: Name and URLs of the servers that announced themselves.
        self._members: dict[str, list[Any]] = {}

    # -- commands --------------------------------------------------------------------------------

    @command
    def put(self, key: bytes, value: bytes, lease: int = 0, flags: int = 0) -> list[Any]:
        """Store a value; return the revision and, with flag 1, the record that was there.

        Flag 2 keeps the value that the key has, flag 4 its lease.

        :raises InvalidArgument: an argument is not accepted.
        :raises LeaseNotFound: there is no such lease.
        :raises KeyNotFound: there is no key whose value or lease could be kept.
        :raises NoSpace: the quota would be exceeded.
        """
        return self._run(PutOp.read((key, value, lease, flags)))

    @command
    def delete(self, key: bytes, end: bytes = b"", flags: int = 0) -> list[Any]:
        """Delete a key or a range; return revision, number of keys and, with flag 1, the records.

        :raises InvalidArgument: an argument is not accepted.
        :raises AnswerTooLarge: flag 1, and there are too many records.
        """
        return self._run(DeleteOp.read((key, end, flags)))

    @command
    def txn(self, compares: list[Any], then: list[Any], otherwise: list[Any]) -> list[Any]:
        """Do ``then`` if all compares hold, else ``otherwise``.

        A compare is ``[target, result, key, end, value]``. An operation is ``[0, *range]``,
        ``[1, *put]``, ``[2, *delete]`` or ``[3, [compares, then, otherwise]]``, with the arguments
        of the command or query.

        :returns: the revision, whether the compares held, and the answer to each operation.
        :raises InvalidArgument, TooManyOps, DuplicateKey: about either branch.
        :raises Compacted, FutureRevision, KeyNotFound, LeaseNotFound, NoSpace, AnswerTooLarge:
            about the branch that is to be done.
        """
        return self._run(TxnOp.read([compares, then, otherwise]))

    @command
    def compact(self, revision: int) -> int:
        """Forget what no revision from this one on shows; return the revision.

        :raises Compacted: that is done. :raises FutureRevision: there is no such revision yet.
        """
        check_number("the revision of a compaction", revision)
        self._keyspace.compact(revision)
        return revision

    @command
    def configure(self, quota: int, rules: int = _RULES) -> int:
        """Set the quota, bytes; return it. A store that has more accepts no put.

        :param rules: the version of the rules by which commands are executed.
        """
        check_number("the quota of the store", quota)
        if rules != _RULES:
            raise InvalidArgument(f"the rules are {shown(rules)}; accepted: {_RULES}")
        self._keyspace.quota = quota
        return quota

    @command
    def alarm(self, action: int, member: int = 0, alarm: int = 0) -> list[list[int]]:
        """List (0), raise (1) or take back (2) alarms; return those it is about.

        While NOSPACE (1) is raised nothing can be put. CORRUPT (2) is only listed. To take back,
        member 0 and alarm 0 stand for all.
        """
        check_number("the action of alarm", action, _DEACTIVATE)
        check_number("the member of an alarm", member, (1 << 64) - 1)
        check_number("the alarm", alarm, _CORRUPT)
        if action == _ACTIVATE:
            return self._raise_alarm(member, alarm)
        found = [each for each in self._alarms if member in (0, each[0]) and alarm in (0, each[1])]
        if action == _DEACTIVATE:
            for each in found:
                del self._alarms[each]
        return [[*each] for each in found]

    def _raise_alarm(self, member: int, alarm: int) -> list[list[int]]:
        if not alarm:
            raise InvalidArgument("there is no alarm 0; accepted: 1 (NOSPACE), 2 (CORRUPT)")
        if len(self._alarms) >= _MAX_ALARMS and (member, alarm) not in self._alarms:
            raise InvalidArgument(
                f"{_MAX_ALARMS} alarms are raised, and no more are accepted", limit=_MAX_ALARMS
            )
        self._alarms[member, alarm] = None
        return [[member, alarm]]

    @command
    def announce(self, server: str, name: str, urls: list[str]) -> int:
        """Note where clients reach a server; return how many servers there are.

        :param urls: a list of texts; an empty one removes the server.
        """
        if not isinstance(urls, list):
            raise InvalidArgument(f"the URLs are {shown(urls)}; accepted: a list of texts")
        texts: list[Any] = [server, name, *urls]
        for text in texts:
            if not isinstance(text, str) or len(text) > _MAX_TEXT:
                raise InvalidArgument(
                    f"{shown(text)} is not accepted: it is text of up to {_MAX_TEXT} characters"
                )
        if not urls:
            self._members.pop(server, None)
        elif len(urls) > _MAX_TEXT or (
            server not in self._members and len(self._members) >= _MAX_MEMBERS
        ):
            raise InvalidArgument(
                f"accepted: {_MAX_MEMBERS} servers with {_MAX_TEXT} URLs", limit=_MAX_MEMBERS
            )
        else:
            self._members[server] = [name, list(urls)]
        return len(self._members)

    @property
    def upkeep(self) -> Upkeep:
        """What the leader decides by. Any thread."""
        keyspace = self._keyspace
        return Upkeep(keyspace.revision, keyspace.history.compacted, keyspace.quota)

    @property
    def revision(self) -> int:
        """The revision of the newest write; 1 for a store that was never written. Any thread."""
        return self._keyspace.revision

    def _run(self, op: PutOp | DeleteOp | TxnOp) -> list[Any]:
        plan = Plan(self._keyspace, (op,), is_full=self._is_full)
        answer: list[Any] = Outcome(self._keyspace, (op,), plan).answers[0]
        return answer

    @property
    def _is_full(self) -> bool:
        return bool(self._alarms) and any(alarm == _NO_SPACE for _, alarm in self._alarms)

    # -- queries ---------------------------------------------------------------------------------

    @query
    def range(
        self,
        key: bytes,
        end: bytes = b"",
        limit: int = 0,
        revision: int = 0,
        sort: list[int] | None = None,
        filters: list[int] | None = None,
        flags: int = 0,
        size: int = 0,
    ) -> list[Any]:
        """Return the store's revision, the number of keys, whether there are more, the records.

        See :class:`~braft_core.services.store.ranges.RangeOp` for the arguments.

        :raises Compacted, FutureRevision: the revision cannot be read.
        :raises InvalidArgument: an argument is not accepted.
        """
        given = RangeOp.read((key, end, limit, revision, sort, filters, flags, size))
        self._keyspace.check_revision(given.revision)
        return [self._keyspace.revision, *read_range(self._keyspace, given)]

    @query
    def count(self, key: bytes, end: bytes = b"", revision: int = 0) -> list[int]:
        """Return the store's revision and the number of keys in a range.

        :raises Compacted, FutureRevision: the revision cannot be read.
        """
        given = RangeOp.read((key, end, 0, revision))
        self._keyspace.check_revision(given.revision)
        count = self._keyspace.count(given.key, given.end, given.revision)
        return [self._keyspace.revision, count]

    @query
    def events(self, begin: int, size: int = _EVENT_BYTES, previous: bool = False) -> list[Any]:
        """Return what happened from a revision on: the store's revision, the next one, events.

        Whole revisions in their order, until they have ``size`` bytes; one at least. The next
        revision is where to go on. An event is ``[record, the record that it replaced or None]``,
        and a record without a value a delete.

        :param previous: whether the replaced records are wanted.
        :raises Compacted: the events of that revision are gone.
        """
        check_number("the revision of events", begin)
        check_number("the size of events", size)
        keyspace = self._keyspace
        begin = self._first_event(begin)
        found = keyspace.history.since(begin, size)
        following = found[-1][MOD] + 1 if found else max(begin, keyspace.revision + 1)
        replaced = keyspace.replaced
        events = [[record, replaced(record) if previous else None] for record in found]
        return [keyspace.revision, following, events]

    @query
    def changes(self, begin: int, sub: int = 0, size: int = _PIECE_BYTES) -> list[Any]:
        """Return a piece of what happened from a place on: :meth:`events` for watches.

        A revision with up to ``size`` bytes is not split; larger ones are.

        :param begin: a revision.
        :param sub: the number of its first record that is wanted.
        :returns: the store's revision, ``[revision, sub]`` of where to go on, and events with the
            records that they replaced.
        :raises Compacted: the events of that revision are gone.
        """
        check_number("the revision of changes", begin)
        check_number("the first record of changes", sub)
        check_number("the size of changes", size)
        keyspace = self._keyspace
        begin = self._first_event(begin)
        found, following = keyspace.history.piece(begin, sub, size)
        if following is None:
            following = max((begin, sub), (keyspace.revision + 1, 0))
        events = [[record, keyspace.replaced(record)] for record in found]
        return [keyspace.revision, [*following], events]

    def _first_event(self, begin: int) -> int:
        """Return the revision, 1 or more. :raises Compacted: its events are gone."""
        begin = max(begin, 1)
        if begin < self._keyspace.history.compacted:
            self._keyspace.check_revision(begin)
        return begin

    @query(name="hash")
    def state_hash(self, revision: int = 0) -> list[int]:
        """Return a hash of all that is kept up to a revision, that one, and the compacted one.

        It reads every record, and commands wait: about a second for a million.

        :raises Compacted, FutureRevision: the revision cannot be read.
        """
        check_number("the revision of hash", revision)
        keyspace = self._keyspace
        keyspace.check_revision(revision)
        at, compacted = revision or keyspace.revision, keyspace.history.compacted
        hashed, pack = blake2b(digest_size=8), msgpack.Packer().pack
        for _, versions in keyspace.index.versions_from(b""):
            for record in retained(versions, compacted):
                if record[MOD] <= at:
                    hashed.update(pack(whole(record)))
        return [int.from_bytes(hashed.digest(), "big"), at, compacted]

    @query
    def status(self) -> dict[str, Any]:
        """Return numbers of the whole store, and its alarms."""
        keyspace = self._keyspace
        return {
            "revision": keyspace.revision,
            "compacted": keyspace.history.compacted,
            "keys": len(keyspace.index),
            "size": keyspace.size,
            "quota": keyspace.quota,
            "leases": len(keyspace.leases),
            "rules": _RULES,
            "alarms": [[*each] for each in self._alarms],
        }

    @query
    def members(self) -> list[list[Any]]:
        """Return ``[server, name, URLs]`` of the servers that announced themselves."""
        return [[server, name, list(urls)] for server, (name, urls) in self._members.items()]

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot(self) -> SlicedCapture:
        """See :meth:`Service.snapshot`."""
        alarms = [[*each] for each in self._alarms]
        return Capture(self._keyspace, {"alarms": alarms, "members": self.members()})

    def restore(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.restore`. Drop the old state first: memory may not hold both."""
        StoreService.__init__(self)
        loaded = load(chunks)
        self._read_extra(loaded.extra)
        self._keyspace = loaded.keyspace

    def check_snapshot(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.check_snapshot`. :raises DecodeError: it is not one of the store."""
        StoreService()._read_extra(check(chunks))

    def _read_extra(self, extra: dict[Any, Any]) -> None:
        match extra:
            case {"alarms": list(alarms), "members": list(members)}:
                try:
                    for member, alarm in alarms:
                        self.alarm(_ACTIVATE, member, alarm)
                    for server, name, urls in members:
                        self.announce(server, name, urls)
                except (InvalidArgument, TypeError, ValueError) as error:
                    raise DecodeError(f"not a snapshot of the store: {error}") from error
                return
        raise DecodeError("not a snapshot of the store: alarms or members are missing")
