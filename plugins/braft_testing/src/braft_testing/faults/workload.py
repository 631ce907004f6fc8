"""Client threads that call a cluster and record every answer.

Owns the threads. Knows the remote client and the kv service. A seed determines what a client does;
the machine determines when.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from braft_core.client import Client
from braft_core.errors import BraftError, Conflict, NotApplied, Unreachable
from braft_testing.faults.checking import COUNTER
from braft_testing.faults.recording import ABSENT, Action, Call, Recorder
from braft_testing.faults.staleness import StalenessRecord, read_stale, write_ticks

__all__ = ["JOURNAL", "REGISTERS", "KeyRing", "Workload", "read_register"]

#: Maps of the kv service.
REGISTERS = "registers"
JOURNAL = "journal"
#: Calls after which a key is retired: the linearizability search grows with the history.
_CALLS_PER_KEY = 400
_TIMEOUT = 2.0
_PROBE_TIMEOUT = 0.5
_PROBE_SECONDS = 0.1
_THINK_SECONDS = (0.01, 0.09)
_ACTIONS = {Action.GET: 35, Action.PUT: 25, Action.PUT_IF: 32, Action.DELETE: 8}

Inside = Callable[[], AbstractContextManager[None]]


class KeyRing:
    """The keys in use: a few registers and a counter, each replaced when its history is long."""

    def __init__(self, registers: int = 4, calls_per_key: int = _CALLS_PER_KEY) -> None:
        self._lock = threading.Lock()
        self._limit = calls_per_key
        self._uses: Counter[str] = Counter()
        self._made = 0
        self._keys = [self._name("register") for _ in range(registers)]
        self._keys.append(self._name(COUNTER))

    def pick(self, draw: float) -> str:
        """Return a key, chosen by a number drawn from 0 to 1."""
        with self._lock:
            slot = min(int(draw * len(self._keys)), len(self._keys) - 1)
            key = self._keys[slot]
            self._uses[key] += 1
            if self._uses[key] >= self._limit:
                self._keys[slot] = self._name(key.partition("-")[0])
            return key

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"


class Workload:
    """Threads that call the cluster and record the answers.

    ``clients`` threads use registers and counters. Two threads per node: one writes a journal, one
    makes stale reads of a key that one more thread writes.

    Use ``with``: leaving it stops and joins all threads.

    :param inside: a context in which the threads open their sockets, on the clients' network.
    """

    def __init__(
        self, recorder: Recorder, urls: Sequence[str], clients: int, seed: int, inside: Inside
    ) -> None:
        self._recorder = recorder
        self._urls = list(urls)
        self._inside = inside
        self._ring = KeyRing()
        self._stop = threading.Event()
        self.staleness = StalenessRecord(recorder.now)
        #: Unexpected errors of the threads, to be checked at the end.
        self.surprises: list[str] = []
        jobs: list[tuple[str, Callable[[str, str], None], str]]
        jobs = [(f"client-{n}", self._client_job, f"{seed}/{n}") for n in range(clients)]
        jobs += [(f"probe-{n}", self._probe_job, url) for n, url in enumerate(self._urls)]
        jobs += [(f"reader-{n}", self._reader_job, url) for n, url in enumerate(self._urls)]
        jobs.append(("ticker", self._ticker_job, ""))
        self._threads = [
            threading.Thread(target=self._guarded, args=(job, name, argument), name=name)
            for name, job, argument in jobs
        ]

    def __enter__(self) -> Workload:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, job: Callable[[str, str], None], name: str, argument: str) -> None:
        try:
            with self._inside():
                job(name, argument)
        except Exception as error:  # noqa: BLE001 - reported at the end
            self.surprises.append(f"{name}: {type(error).__name__}: {error}")

    def _client_job(self, name: str, seed: str) -> None:
        chance = random.Random(seed)  # noqa: S311 - must be reproducible, not secret
        with ExitStack() as stack:
            # Two nodes each: the second is called if the first certainly did nothing.
            pairs = zip(self._urls, self._urls[1:] + self._urls[:1], strict=True)
            ways = [stack.enter_context(Client(pair, timeout=_TIMEOUT)) for pair in pairs]
            while not self._stop.wait(chance.uniform(*_THINK_SECONDS)):
                key = self._ring.pick(chance.random())
                self._act(name, chance.choice(ways), key, chance)

    def _act(self, name: str, client: Client, key: str, chance: random.Random) -> None:
        action = chance.choices(list(_ACTIONS), list(_ACTIONS.values()))[0]
        counter = key.startswith(COUNTER)
        if action is Action.GET:
            read_register(self._recorder, name, client, key)
        elif action is Action.PUT_IF or counter:
            before = read_register(self._recorder, name, client, key)
            if before.seen is not None and before.revision is not None:
                self._put_if(name, client, before, counter)
        elif action is Action.PUT:
            call = self._recorder.invoke(name, Action.PUT, key)
            call.value = call.number
            with _recorded(self._recorder, call):
                revision = client.kv_put(REGISTERS, key, call.value)
                self._recorder.answered(call, revision=revision)
        else:
            call = self._recorder.invoke(name, Action.DELETE, key)
            with _recorded(self._recorder, call):
                existed = client.kv_delete(REGISTERS, key)
                self._recorder.answered(call, seen=None if existed else ABSENT)

    def _put_if(self, name: str, client: Client, before: Call, counter: bool) -> None:
        call = self._recorder.invoke(name, Action.PUT_IF, before.key)
        call.expected = before.seen or ABSENT
        call.expected_revision = before.revision or ABSENT
        call.value = call.expected + 1 if counter else call.number
        with _recorded(self._recorder, call):
            revision = client.kv_put(REGISTERS, call.key, call.value, call.expected_revision)
            self._recorder.answered(call, revision=revision)

    def _ticker_job(self, name: str, argument: str) -> None:
        write_ticks(self.staleness, self._urls, self._stop)

    def _reader_job(self, name: str, url: str) -> None:
        read_stale(self.staleness, name, url, self._stop)

    def _probe_job(self, name: str, url: str) -> None:
        """Put new journal keys through one node, many times a second, to see whether it serves."""
        with Client([url], timeout=_PROBE_TIMEOUT) as client:
            while not self._stop.wait(_PROBE_SECONDS):
                call = self._recorder.invoke(name, Action.PUT, "")
                call.key, call.value = f"{name}-{call.number}", call.number
                with _recorded(self._recorder, call):
                    revision = client.kv_put(JOURNAL, call.key, call.value)
                    self._recorder.answered(call, revision=revision)


def read_register(recorder: Recorder, name: str, client: Client, key: str) -> Call:
    """Make and record a linearizable read."""
    call = recorder.invoke(name, Action.GET, key)
    with _recorded(recorder, call):
        entry = client.kv_entry(REGISTERS, key)
        value, revision = (int(entry.value), entry.revision) if entry else (ABSENT, ABSENT)
        recorder.answered(call, seen=value, revision=revision)
    return call


@contextmanager
def _recorded(recorder: Recorder, call: Call) -> Iterator[None]:
    """Record what an error means for the call."""
    try:
        yield
    except Conflict as error:
        recorder.conflicted(call, int(error.data["revision"]))
    except NotApplied as error:
        recorder.failed(call, f"{type(error).__name__}: {error}")
    except Unreachable as error:
        # "sent" concerns any node: a write ends with OutcomeUnknown if it was sent.
        recorder.failed(call, f"{type(error).__name__}: {error}")
    except BraftError as error:
        recorder.lost(call, f"{type(error).__name__}: {error}")
