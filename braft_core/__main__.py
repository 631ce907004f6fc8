"""The process ``braft``: what must hold before anything is imported that takes time.

``python -m braft_core`` and the console script begin here. Owns the signals until a node has its
own handlers, and standard streams that can be used whatever the process was started with.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = ["main"]

#: By descriptor: the stream's name, how a stand-in for a closed one is opened, and how it is used.
#: Reading a closed standard input has to fail: an empty answer would be taken for the input.
_STREAMS = (
    ("stdin", os.O_WRONLY, "r"),
    ("stdout", os.O_WRONLY, "w"),
    ("stderr", os.O_WRONLY, "w"),
)


def main() -> None:
    """Run the command line."""
    _obey_signals()
    _open_streams()
    # pydantic looks for plugins in all metadata there are, and raises over any broken one.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from braft_core.cli import main as run
        from braft_core.file_descriptors import raise_descriptor_limit

        raise_descriptor_limit()
        run()
    except KeyboardInterrupt:  # while importing; commands have their own answer to Ctrl-C
        sys.exit(128 + signal.SIGINT)


def _obey_signals() -> None:
    """Let SIGTERM end the process from now on, as process 1 of a container too.

    The kernel drops a signal to process 1 that has no handler, and importing takes a second or two.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    # Nothing has begun that would have to end in order; an exception could be caught by an import.
    os._exit(128 + number)


def _open_streams() -> None:
    """Fill the places of closed standard streams, and let all of them take any text.

    The next file that is opened would take the place: what is meant for standard output would be
    written into it.
    """
    for descriptor, (_, flags, _) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # takes the lowest free one
    for descriptor, (name, _, mode) in enumerate(_STREAMS):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(descriptor, mode, closefd=False)  # noqa: SIM115 - lives as the process
            setattr(sys, name, stream)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
