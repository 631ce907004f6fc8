"""One thing that was looked at, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Level", "fail", "ok", "warn"]


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was seen, and what to do about it."""

    level: Level
    subject: str
    message: str
    #: "" where there is nothing to be done.
    remedy: str = ""


def ok(subject: str, message: str) -> Finding:
    """As it should be."""
    return Finding(Level.OK, subject, message)


def warn(subject: str, message: str, remedy: str = "") -> Finding:
    """It works, and may not for long."""
    return Finding(Level.WARN, subject, message, remedy)


def fail(subject: str, message: str, remedy: str = "") -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, subject, message, remedy)
