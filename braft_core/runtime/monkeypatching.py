"""Detect that gevent or eventlet has replaced threads and sockets of the standard library.

All green threads run in one thread. The loop of a node would wait forever for work that needs
another thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from braft_core.errors import ConfigError

__all__ = ["check_not_monkeypatched"]

#: By the library: its module that replaces, and that module's question "is this one replaced?".
_REPLACERS = {
    "gevent": ("gevent.monkey", "is_module_patched"),
    "eventlet": ("eventlet.patcher", "is_monkey_patched"),
}
#: What a node uses, by the names of both libraries.
_NEEDED = ("thread", "threading", "_thread", "socket", "select", "selectors", "queue")


def check_not_monkeypatched() -> None:
    """Check that threads and sockets are those of the standard library.

    :raises ConfigError: a library has replaced them; says which, and what to do.
    """
    for library, replaced in _replaced():
        raise ConfigError(
            f"{library} has replaced {', '.join(replaced)} of this process (monkey patching), and "
            "a node, which has threads of its own, would hang; accepted: a node in a process of "
            "its own (the command braft), asked by braft_core.client.Client, which works here, or "
            f"a process in which {library} leaves these alone",
            library=library,
            replaced=list(replaced),
        )


def _replaced() -> Iterator[tuple[str, list[str]]]:
    for library, (module, question) in _REPLACERS.items():
        # Not imported here: a library that nobody has imported has replaced nothing.
        ask: Callable[[str], bool] | None = getattr(sys.modules.get(module), question, None)
        replaced = [name for name in _NEEDED if ask is not None and ask(name)]
        if replaced:
            yield library, replaced
