"""Decides when to warn about the expiry of certificates, and with which message. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "OWN",
    "ExpiryStage",
    "Reminder",
    "Validity",
    "expiry_message",
    "expiry_stage",
    "most_urgent",
]

#: The node's own certificate, in messages.
OWN = "this node's TLS certificate"
#: A certificate should be renewed so long before its end, or in the last part of its lifetime if
#: that is shorter: programs renew short-lived certificates after two thirds of their lifetime.
_SOON_DAYS, _SOON_PART = timedelta(days=30), 4
_URGENT_DAYS, _URGENT_PART = timedelta(days=7), 12


class Validity(NamedTuple):
    """When a certificate begins and ends to be valid."""

    begin: datetime
    end: datetime


class ExpiryStage(IntEnum):
    """How soon a certificate expires."""

    FAR = 0
    SOON = 1
    URGENT = 2
    OVER = 3
    #: Not valid yet.
    EARLY = 4


#: Intervals between two log lines about the same stage.
_INTERVALS = {
    ExpiryStage.SOON: timedelta(days=1),
    ExpiryStage.URGENT: timedelta(days=1),
    ExpiryStage.OVER: timedelta(hours=1),
    ExpiryStage.EARLY: timedelta(hours=1),
}


def expiry_stage(valid: Validity, now: datetime) -> ExpiryStage:
    """Return the stage at ``now``."""
    life, left = valid.end - valid.begin, valid.end - now
    if now >= valid.end:
        return ExpiryStage.OVER
    if now < valid.begin:
        return ExpiryStage.EARLY
    if left < min(life / _URGENT_PART, _URGENT_DAYS):
        return ExpiryStage.URGENT
    if left < min(life / _SOON_PART, _SOON_DAYS):
        return ExpiryStage.SOON
    return ExpiryStage.FAR


def expiry_message(valid: Validity, now: datetime, whose: str = OWN) -> str:
    """Return a message about the expiry at ``now``; "" while there is time."""
    near, until = expiry_stage(valid, now), f"{valid.end:%Y-%m-%d %H:%M} UTC"
    if near is ExpiryStage.FAR:
        return ""
    if near is ExpiryStage.OVER:
        return f"{whose} expired on {until}: peers refuse new connections"
    if near is ExpiryStage.EARLY:
        since = f"{valid.begin:%Y-%m-%d %H:%M} UTC"
        return f"{whose} is valid from {since} only: is the clock right?"
    hours = (valid.end - now) // timedelta(hours=1)
    left = f"{hours} hours" if hours < 48 else f"{hours // 24} days"
    return f"{whose} expires on {until}, in {left}: replace it before"


def most_urgent(
    certificates: Iterable[tuple[str, Validity]], now: datetime
) -> tuple[ExpiryStage, str]:
    """Return stage and message of the most urgent of several certificates."""
    found = [(expiry_stage(valid, now), valid.end, whose, valid) for whose, valid in certificates]
    if not found:
        return ExpiryStage.FAR, ""
    near, _, whose, valid = max(found, key=lambda row: (row[0], now - row[1]))
    return near, expiry_message(valid, now, whose)


class Reminder:
    """Decides when to log: when the stage is new, and then at intervals."""

    def __init__(self) -> None:
        self._last: tuple[ExpiryStage, datetime] | None = None

    def should_log(self, near: ExpiryStage, now: datetime) -> bool:
        """Return whether to log now; if so, the caller does."""
        if near is ExpiryStage.FAR:
            self._last = None
            return False
        if self._last is not None:
            said, when = self._last
            # A clock that was set back must not suppress the log for years.
            if said == near and timedelta(0) <= now - when < _INTERVALS[near]:
                return False
        self._last = (near, now)
        return True
