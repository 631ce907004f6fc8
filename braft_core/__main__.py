"""The entry point of ``python -m braft_core`` and of the console script ``braft``.

Before the slow imports it handles signals, until a node sets its own handlers, and replaces closed
standard streams.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = ["main"]

#: By descriptor: the stream's name, how a replacement is opened, and how the stream is used.
#: Reading a closed standard input must fail: an empty result would count as input.
_STREAMS = (
    ("stdin", os.O_WRONLY, "r"),
    ("stdout", os.O_WRONLY, "w"),
    ("stderr", os.O_WRONLY, "w"),
)


def main() -> None:
    """Run the command line."""
    _end_on_sigterm()
    _open_streams()
    # pydantic searches the metadata of all distributions for plugins and raises at a broken one.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from braft_core.cli import main as run
        from braft_core.file_descriptors import raise_descriptor_limit

        raise_descriptor_limit()
        run()
    except KeyboardInterrupt:  # during the imports; commands handle Ctrl-C themselves
        sys.exit(128 + signal.SIGINT)


def _end_on_sigterm() -> None:
    """Let SIGTERM end the process during the imports, also as process 1 of a container.

    The kernel drops a signal to process 1 that has no handler, and the imports take seconds.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    # No cleanup is needed yet, and an import could catch an exception.
    os._exit(128 + number)


def _open_streams() -> None:
    """Replace closed standard streams, and make all of them accept any text.

    Otherwise the next file that is opened would get the descriptor, and output would go into it.
    """
    for descriptor, (_, flags, _) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, flags), True
            )  # open() returns the lowest free descriptor
    for descriptor, (name, _, mode) in enumerate(_STREAMS):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(descriptor, mode, closefd=False)  # noqa: SIM115 - open as long as the process
            setattr(sys, name, stream)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
