"""Run the machine's tools, and report what is missing.

Owns nothing that lasts. Every other module of the kit that changes the machine uses :func:`tool`,
so that an error always says which command failed and why.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from braft_core.errors import BraftError

__all__ = ["FaultKitError", "tool"]

_SECONDS = 30.0


class FaultKitError(BraftError):
    """The machine did not do what a fault needs; ``data["command"]`` is a failed command."""

    code = "fault_kit"


def tool(*command: str, text: str = "", prefix: Sequence[str] = ()) -> str:
    """Run one of the machine's tools and return its output.

    :param text: its standard input.
    :param prefix: a command that runs the tool, for example in a namespace.
    :raises FaultKitError: if the tool is missing, fails, or takes longer than 30 seconds.
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
