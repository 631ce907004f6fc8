"""Whether threads and sockets of this process are what a node needs: the standard library's.

gevent and eventlet can replace them by tasks of one thread that take turns. A node's loop then
waits for what only a thread of its own could do, in silence and without an end.
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
    """:raises ConfigError: a library has replaced what a node needs; says which, and what to do."""
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
        # Only asked, never imported: what nobody has imported has replaced nothing.
        ask: Callable[[str], bool] | None = getattr(sys.modules.get(module), question, None)
        replaced = [name for name in _NEEDED if ask is not None and ask(name)]
        if replaced:
            yield library, replaced
