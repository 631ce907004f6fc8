"""The replicated state machine: services with commands and queries.

A service is a named part of the state. Its commands are in the log and run on every node, in the
same order; its queries run on one node. Write one by deriving from :class:`StateMachineService`::

    class Counter(StateMachineService):
        name = "counter"

        def __init__(self) -> None:
            self.value = 0

        @command
        def add(self, amount: int) -> int:
            self.value += amount
            return self.value

        @query
        def get(self) -> int:
            return self.value

        def dump(self) -> int:
            return self.value

        def load(self, value: int) -> None:
            self.value = value

**Determinism.** Equal state and equal commands must give equal state and equal answers on every
node, in every process, at any time, because a restarted node replays the log. So a command uses
only its arguments, the state, and its :class:`~braft_core.abc.CommandContext`:

* no clock except ``context.appended_at``, the leader's time, which is in the log;
* no randomness, no ``id()``, no ``hash()`` of text (it differs from process to process);
* no iteration over a ``set`` (sort it first); dicts keep their insertion order and are fine;
* no I/O, no environment, no threads, no ``async``;
* arguments and answers are plain values (:mod:`braft_core.serializers.plain`).

If a command raises, the caller gets that error. Changes that it made before stay on every node, so
check first, then change.

What braft enforces: ``async`` and generator commands are refused when the class is created, answers
that are not plain become errors, and
:class:`braft_testing.services.ServiceConformance` compares instances, restored snapshots and
hash seeds.
"""

from braft_core.services.service import StateMachineService, command, query

__all__ = ["StateMachineService", "command", "query"]
