"""The instances that are followed, and where each of them is.

On an open network anybody may announce any number of names. Each that is followed costs a task,
memory and questions on the network, so only so many are, and only some of one address. When there
are more, they take turns: who does not answer, or answers for another cluster, gives way first,
then those of the address that has most. Knows nothing of multicast DNS beyond names.
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

__all__ = ["MOST_FOLLOWED", "MOST_PER_ADDRESS", "Answer", "Instances"]

log = logging.getLogger(__name__)

#: Instances that are followed, and how many of them may be at one address.
MOST_FOLLOWED: Final = 128
MOST_PER_ADDRESS: Final = 16
#: Instances that are asked at a time, of those that have not answered.
_MOST_ASKED: Final = 16
#: Contacts that give way at each turn where every address has but one.
_GIVE_WAY: Final = 4
#: Longest name of DNS, in characters.
_LONGEST_NAME: Final = 255
#: Seconds between two questions to one instance, however often its records change.
_PACE: Final = 0.1


class Answer(NamedTuple):
    """What came of asking an instance. One that answers may be no contact all the same."""

    answered: bool
    contact: Contact | None


@dataclass(slots=True, eq=False)
class _Followed:
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    contact: Contact | None = None
    asked: bool = False


class Instances:
    """Used on the loop alone.

    :param ask: asks an instance for its records; must not raise.
    :param refresh: seconds after which one that answered is asked again.
    :param retry: seconds after which one that did not is; doubled up to ``refresh``.
    :param changed: called when the contacts are others than before.
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
        self._turns = asyncio.Semaphore(_MOST_ASKED)
        #: Whether there were more names than can be followed.
        self.crowded = False

    @property
    def contacts(self) -> set[Contact]:
        """Where the instances are that answer."""
        return {each.contact for each in self._followed.values() if each.contact is not None}

    def __len__(self) -> int:
        return len(self._followed)

    def added(self, name: str) -> None:
        """An instance exists, or its records have changed."""
        known = self._followed.get(name)
        if known is not None:
            known.news.set()
        elif len(name) > _LONGEST_NAME or len(self._followed) >= MOST_FOLLOWED:
            self.crowded = True
        else:
            self._start(name, _Followed())

    def removed(self, name: str) -> None:
        """An instance is gone."""
        known = self._followed.pop(name, None)
        if known is None:
            return
        if known.task is not None:
            known.task.cancel()
        if known.contact is not None:
            log.info("mDNS: %s is gone", printable(name))
            self._changed()

    def take_turns(self, names: Iterable[str]) -> None:
        """Follow others for a while, if more names are known than can be followed."""
        if not self.crowded:
            return
        waiting = [n for n in names if n not in self._followed and len(n) <= _LONGEST_NAME]
        if not waiting:
            self.crowded = False
            return
        for name in list(self._give_way(len(waiting))):
            self.removed(name)
        free = min(MOST_FOLLOWED - len(self._followed), len(waiting))
        for name in random.sample(waiting, free):
            self._start(name, _Followed())

    async def pause(self) -> None:
        """Ask nobody any more; what is known stays until :meth:`resume` has asked again."""
        tasks = [each.task for each in self._followed.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followed = {n: e for n, e in self._followed.items() if e.contact is not None}
        for each in self._followed.values():
            each.task = None

    def resume(self) -> None:
        """Ask those again that were known before, on other interfaces perhaps."""
        for name, each in self._followed.items():
            self._start(name, each)

    def _start(self, name: str, instance: _Followed) -> None:
        self._followed[name] = instance
        instance.task = asyncio.create_task(self._follow(name, instance))

    def _give_way(self, wanted: int) -> Iterator[str]:
        idle = [name for name, e in self._followed.items() if e.asked and e.contact is None]
        yield from idle[:wanted]
        if idle or len(self._followed) < MOST_FOLLOWED:
            return
        by_host: dict[str, list[str]] = {}
        for name, each in self._followed.items():
            if each.contact is not None:
                by_host.setdefault(each.contact.host, []).append(name)
        largest = max(by_host.values(), key=len, default=[])
        # Where every address has one name, chance decides: nobody may stay for ever.
        pool = largest if len(largest) > 1 else [names[0] for names in by_host.values()]
        yield from random.sample(pool, min(_GIVE_WAY, wanted, len(pool)))

    async def _follow(self, name: str, instance: _Followed) -> None:
        """Ask for the instance's records again and again until it goes.

        The record that says an instance exists is kept for at least 18 minutes by those who heard
        it; a killed node would stay a contact that long. So its address is given a short life and
        asked for anew, and without an answer the instance is no contact.
        """
        pause = self._retry
        while True:
            # One that answered must not wait behind many that do not.
            async with self._turns if instance.contact is None else nullcontext():
                instance.news.clear()
                answer = await self._ask(name)
            self._set(name, instance, answer.contact)
            pause = self._retry if answer.answered else min(pause * 2, self._refresh)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._refresh if answer.answered else pause / 2):
                    await instance.news.wait()
                    pause = self._retry  # its records have changed
            await asyncio.sleep(_PACE)

    def _set(self, name: str, instance: _Followed, contact: Contact | None) -> None:
        instance.asked = True
        if contact is not None and instance.contact != contact and self._is_full(contact.host):
            log.debug("mDNS: %s is one too many at %s", printable(name), contact.host)
            contact = None
        if instance.contact != contact:
            instance.contact = contact
            log.info("mDNS: %s is %s", printable(name), contact or "gone")
            self._changed()

    def _is_full(self, host: str) -> bool:
        hosts = Counter(e.contact.host for e in self._followed.values() if e.contact is not None)
        return hosts[host] >= MOST_PER_ADDRESS
