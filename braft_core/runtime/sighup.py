"""SIGHUP of a node that runs in the foreground: reload files, or end with the terminal.

By convention the signal asks a service to reload its files, and reports that the terminal of a
program is gone. The handler ends the node if its process had a terminal and lost it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["SighupHandler", "has_terminal"]


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class SighupHandler:
    """A handler for SIGHUP. Main thread only.

    :param end: called when the terminal is gone, unless SIGHUP was ignored before (``nohup``).
    :param has_terminal: returns whether the process has a terminal.
    """

    def __init__(
        self, end: Callable[[], None], has_terminal: Callable[[], bool] = has_terminal
    ) -> None:
        self._end, self._has_terminal = end, has_terminal
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._needs_terminal = not ignored and has_terminal()
        self._asked = False

    def __call__(self, *_: object) -> None:
        """Handle the signal."""
        if self._needs_terminal and not self._has_terminal():
            self._end()
        else:
            self._asked = True

    def take_request(self) -> bool:
        """Return whether files are to be read again; ``False`` until it is asked for once more."""
        asked, self._asked = self._asked, False
        return asked
