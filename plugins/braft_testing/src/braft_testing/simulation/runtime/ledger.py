"""The services of the judges: they count how often each command was executed."""

from __future__ import annotations

from typing import Any

from braft_core.abc import Service
from braft_core.services.service import StateMachineService, command, query

__all__ = ["VERSIONS", "Journal", "Ledger", "NewLedger", "Planned", "services_of"]

#: Versions of the program. Each can do more than the one before.
VERSIONS = 3
#: The service raises at each token that this divides.
_UNLUCKY = 19


class Planned(Exception):
    """What the service raises on purpose."""


class Ledger(StateMachineService):
    """Numbered entries in some accounts. No command repeats a token on purpose."""

    name = "ledger"

    def __init__(self) -> None:
        self._accounts: dict[str, list[int]] = {}

    def _append(self, account: str, token: int) -> int:
        if token % _UNLUCKY == 0:
            raise Planned(f"{token} is unlucky")
        tokens = self._accounts.setdefault(account, [])
        tokens.append(token)
        return len(tokens)

    @command
    def note(self, account: str, token: int) -> int:
        """Append a token; return how many the account has now. :raises Planned: for some."""
        return self._append(account, token)

    @query
    def tokens(self, account: str) -> list[int]:
        """Return all tokens of an account, in order."""
        return list(self._accounts.get(account, ()))

    def dump(self) -> Any:
        """See the base class."""
        return self._accounts

    def load(self, value: Any) -> None:
        """See the base class."""
        self._accounts = value


class NewLedger(Ledger):
    """The second version has another command, which does the same."""

    @command
    def record(self, account: str, token: int) -> int:
        """Do as ``note`` does."""
        return self._append(account, token)


class Journal(Ledger):
    """The third version has another service, for accounts of its own."""

    name = "journal"


def services_of(version: int) -> tuple[Service, ...]:
    """Return the services of the judges in a version of the program, from 1 on."""
    ledger = Ledger() if version < 2 else NewLedger()
    return (ledger, Journal()) if version >= VERSIONS else (ledger,)
