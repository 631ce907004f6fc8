"""The words of ``braft store txn`` as conditions and operations, and what came of them."""

from __future__ import annotations

import operator
import shlex
from collections.abc import Callable
from typing import Any, Final

from braft_core.cli.bytes_values import entry_json, of_word, print_entries
from braft_core.cli.output import echo
from braft_core.errors import ConfigError, Conflict
from braft_core.store import (
    Condition,
    Delete,
    Entry,
    Get,
    Key,
    Operation,
    Put,
    Store,
    TxnResult,
)

__all__ = ["condition", "operation", "print_result", "put_if", "result_json"]

_SIGNS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_NUMBERS: Final = ("version", "created", "revision", "lease")
_CONDITION: Final = (
    "'KEY TARGET SIGN VALUE' with version, created, revision, lease or value, and ==, !=, < or >"
)
_OPERATION: Final = (
    "'put KEY VALUE', 'put KEY VALUE LEASE', 'get KEY', 'get KEY*', 'del KEY' or 'del KEY*'"
)


def condition(text: str) -> Condition:
    """Return the condition of a text. :raises ConfigError: it is not one."""
    match _words(text, _CONDITION):
        case [key, "value", sign, value] if sign in _SIGNS:
            found: Condition = _SIGNS[sign](Key(of_word(key)).value, of_word(value))
            return found
        case [key, target, sign, number] if target in _NUMBERS and sign in _SIGNS:
            operand = getattr(Key(of_word(key)), target)
            compared: Condition = _SIGNS[sign](operand, _number(text, number, _CONDITION))
            return compared
    raise _refused(text, _CONDITION)


def operation(text: str) -> Operation:
    """Return the operation of a text. :raises ConfigError: it is not one."""
    match _words(text, _OPERATION):
        case ["put", key, value]:
            return Put(of_word(key), of_word(value))
        case ["put", key, value, lease]:
            return Put(of_word(key), of_word(value), _number(text, lease, _OPERATION))
        case ["get", key]:
            return Get(prefix=of_word(key[:-1])) if key.endswith("*") else Get(of_word(key))
        case ["del", key]:
            return Delete(prefix=of_word(key[:-1])) if key.endswith("*") else Delete(of_word(key))
    raise _refused(text, _OPERATION)


def put_if(store: Store, key: bytes, value: bytes, lease: int | None, revision: int) -> int:
    """Put a key if it has a revision, 0: if it does not exist; return the new revision.

    :raises Conflict: it has another one.
    """
    done = store.txn([Key(key).revision == revision], [Put(key, value, lease)], [Get(key)])
    [answer] = done.answers
    if done:
        return done.revision
    present = answer.revision if isinstance(answer, Entry) else 0
    state = f"is at revision {present}" if present else "does not exist"
    raise Conflict(f"key {key!r:.120} {state}", revision=present)


def result_json(result: TxnResult) -> dict[str, Any]:
    """Return what came of a transaction as a JSON object."""
    answers = [_answer_json(answer) for answer in result.answers]
    return {"succeeded": result.succeeded, "revision": result.revision, "answers": answers}


def _answer_json(answer: Any) -> Any:
    if isinstance(answer, Entry):
        return entry_json(answer)
    return [entry_json(each) for each in answer] if isinstance(answer, list) else answer


def print_result(result: TxnResult) -> None:
    """Print what came of a transaction: a line, then what its gets found."""
    if result:
        echo(f"done at revision {result.revision}")
    else:
        echo("a condition does not hold", err=True)
    for answer in result.answers:
        if isinstance(answer, Entry):
            print_entries([answer])
        elif isinstance(answer, list):
            print_entries(answer)


def _words(text: str, accepted: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote is not closed
        raise _refused(text, accepted) from None


def _number(text: str, word: str, accepted: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 20):
        raise _refused(text, accepted)
    return int(word)


def _refused(text: str, accepted: str) -> ConfigError:
    return ConfigError(f"{text!r:.200} is not accepted; accepted: {accepted}")
