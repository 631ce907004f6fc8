"""The instances that are followed, and the contact of each.

On an open network anybody may announce any number of names. Following an instance costs a task,
memory and queries, so their number is limited, in total and per address. If there are more,
they are rotated: first instances without a contact are evicted, then those of the address that has
most. Must not know multicast DNS beyond names.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from braft_core.abc import Contact
from braft_core.escaping import printable

__all__ = ["MAX_FOLLOWED", "MAX_PER_ADDRESS", "Answer", "Instances"]

log = logging.getLogger(__name__)

#: Maximum number of followed instances, and of contacts at one address.
MAX_FOLLOWED: Final = 128
MAX_PER_ADDRESS: Final = 16
#: Maximum number of concurrent queries to instances without a contact.
_MAX_UNANSWERED: Final = 16
#: Contacts that a rotation evicts if every address has only one.
_EVICTED_PER_ROTATION: Final = 4
#: Maximum length of a DNS name, in characters.
_MAX_NAME_LENGTH: Final = 255
#: Minimum seconds between two queries to an instance, however often its records change.
_MIN_INTERVAL: Final = 0.1


class Answer(NamedTuple):
    """The result of a query. An instance that answers may still not be a contact."""

    answered: bool
    contact: Contact | None


@dataclass(slots=True, eq=False)
class _Followed:
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    contact: Contact | None = None
    asked: bool = False


class Instances:
    """The followed instances. Use it on the loop only.

    :param ask: queries the records of an instance; must not raise.
    :param refresh: seconds between queries to an instance that answers.
    :param retry: seconds before the next query to one that does not; doubled up to ``refresh``.
    :param changed: called when the set of contacts changes.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Answer]],
        refresh: float,
        retry: float,
        changed: Callable[[], None],
    ) -> None:
        self._ask, self._refresh, self._retry, self._changed = ask, refresh, retry, changed
        self._followed: dict[str, _Followed] = {}
        self._unanswered_slots = asyncio.Semaphore(_MAX_UNANSWERED)
        #: Whether there are more names than can be followed.
        self.crowded = False

    @property
    def contacts(self) -> set[Contact]:
        """The contacts of the instances that answer."""
        return {each.contact for each in self._followed.values() if each.contact is not None}

    def __len__(self) -> int:
        return len(self._followed)

    def added(self, name: str) -> None:
        """Note that an instance exists, or that its records changed."""
        known = self._followed.get(name)
        if known is not None:
            known.news.set()
        elif len(name) > _MAX_NAME_LENGTH or len(self._followed) >= MAX_FOLLOWED:
            self.crowded = True
        else:
            self._start(name, _Followed())

    def removed(self, name: str) -> None:
        """Note that an instance is gone."""
        known = self._followed.pop(name, None)
        if known is None:
            return
        if known.task is not None:
            known.task.cancel()
        if known.contact is not None:
            log.info("mDNS: %s is gone", printable(name))
            self._changed()

    def rotate(self, names: Iterable[str]) -> None:
        """Evict some instances and follow others, if there are more names than allowed."""
        if not self.crowded:
            return
        waiting = [n for n in names if n not in self._followed and len(n) <= _MAX_NAME_LENGTH]
        if not waiting:
            self.crowded = False
            return
        for name in list(self._evictable(len(waiting))):
            self.removed(name)
        free = min(MAX_FOLLOWED - len(self._followed), len(waiting))
        for name in random.sample(waiting, free):
            self._start(name, _Followed())

    async def pause(self) -> None:
        """Stop all queries; known contacts stay until :meth:`resume` queries again."""
        tasks = [each.task for each in self._followed.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followed = {n: e for n, e in self._followed.items() if e.contact is not None}
        for each in self._followed.values():
            each.task = None

    def resume(self) -> None:
        """Query the known instances again, perhaps on other interfaces."""
        for name, each in self._followed.items():
            self._start(name, each)

    def _start(self, name: str, instance: _Followed) -> None:
        self._followed[name] = instance
        instance.task = asyncio.create_task(self._follow(name, instance))

    def _evictable(self, wanted: int) -> Iterator[str]:
        idle = [name for name, e in self._followed.items() if e.asked and e.contact is None]
        yield from idle[:wanted]
        if idle or len(self._followed) < MAX_FOLLOWED:
            return
        by_host: dict[str, list[str]] = {}
        for name, each in self._followed.items():
            if each.contact is not None:
                by_host.setdefault(each.contact.host, []).append(name)
        largest = max(by_host.values(), key=len, default=[])
        # If every address has one name, evict at random, so that no instance stays forever.
        pool = largest if len(largest) > 1 else [names[0] for names in by_host.values()]
        yield from random.sample(pool, min(_EVICTED_PER_ROTATION, wanted, len(pool)))

    async def _follow(self, name: str, instance: _Followed) -> None:
        """Query the instance's records periodically until it is removed.

        The PTR record of an instance is cached for at least 18 minutes; a killed node would stay a
        contact that long. So its address record has a short TTL and is queried again; an instance
        that does not answer is not a contact.
        """
        pause = self._retry
        while True:
            # Instances with a contact must not wait behind many that do not answer.
            async with self._unanswered_slots if instance.contact is None else nullcontext():
                instance.news.clear()
                answer = await self._ask(name)
            self._set(name, instance, answer.contact)
            pause = self._retry if answer.answered else min(pause * 2, self._refresh)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._refresh if answer.answered else pause / 2):
                    await instance.news.wait()
                    pause = self._retry  # its records have changed
            await asyncio.sleep(_MIN_INTERVAL)

    def _set(self, name: str, instance: _Followed, contact: Contact | None) -> None:
        instance.asked = True
        if contact is not None and instance.contact != contact and self._is_full(contact.host):
            log.debug("mDNS: ignoring %s: too many instances at %s", printable(name), contact.host)
            contact = None
        if instance.contact != contact:
            instance.contact = contact
            log.info("mDNS: %s is %s", printable(name), contact or "gone")
            self._changed()

    def _is_full(self, host: str) -> bool:
        hosts = Counter(e.contact.host for e in self._followed.values() if e.contact is not None)
        return hosts[host] >= MAX_PER_ADDRESS
