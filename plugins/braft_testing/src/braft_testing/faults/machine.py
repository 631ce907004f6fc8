"""The machine under the kit: its tools, called by name; what it lacks is told, not guessed.

Owns nothing that lasts. Every other module of the kit that changes the machine goes through
:func:`tool`, so that a refusal always says which command failed and why.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from braft_core.errors import BraftError

__all__ = ["FaultKitError", "tool"]

_SECONDS = 30.0


class FaultKitError(BraftError):
    """The machine did not do what a fault needs; ``data`` has ``command`` where one failed."""

    code = "fault_kit"


def tool(*command: str, text: str = "", prefix: Sequence[str] = ()) -> str:
    """Run one of the machine's tools and return what it printed.

    :param text: its standard input.
    :param prefix: a command that runs the other, for example in a namespace.
    :raises FaultKitError: if it is not there, fails, or takes longer than 30 seconds.
    """
    shown = " ".join(command)
    if shutil.which(command[0]) is None:
        raise FaultKitError(f"{command[0]} is not installed", command=shown)
    try:
        done = subprocess.run(  # noqa: S603 - commands of the kit, no shell
            [*prefix, *command], input=text, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FaultKitError(f"{shown}: {error}", command=shown) from error
    if done.returncode:
        reason = done.stderr.strip() or f"exit code {done.returncode}"
        raise FaultKitError(f"{shown}: {reason}", command=shown)
    return done.stdout
