"""The service of the judges: it counts how often each command was executed."""

from __future__ import annotations

from typing import Any

from braft_core.services.service import StateMachineService, command, query

__all__ = ["Ledger"]


class Ledger(StateMachineService):
    """Numbered entries in some accounts. No command repeats a token on purpose."""

    name = "ledger"

    def __init__(self) -> None:
        self._accounts: dict[str, list[int]] = {}

    @command
    def note(self, account: str, token: int) -> int:
        """Append a token; return how many the account has now."""
        tokens = self._accounts.setdefault(account, [])
        tokens.append(token)
        return len(tokens)

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
