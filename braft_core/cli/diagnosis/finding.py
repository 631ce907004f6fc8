"""One finding of ``braft doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Level", "fail", "ok", "warn"]


class Level(Enum):
    """Severity of a finding."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """A subject, what was found, and what to do about it."""

    level: Level
    subject: str
    message: str
    #: "" if nothing needs to be done.
    remedy: str = ""


def ok(subject: str, message: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Level.OK, subject, message)


def warn(subject: str, message: str, remedy: str = "") -> Finding:
    """Return a finding of something that works now and may fail later."""
    return Finding(Level.WARN, subject, message, remedy)


def fail(subject: str, message: str, remedy: str = "") -> Finding:
    """Return a finding of something that does not work."""
    return Finding(Level.FAIL, subject, message, remedy)
