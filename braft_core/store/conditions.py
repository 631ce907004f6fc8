"""What a transaction compares: ``Key("a").version == 0``, ``Key("a").value != b"x"``."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from braft_core.store.keys import Bytes, as_bytes, as_range

__all__ = ["SIGNS", "TARGETS", "Condition", "Key", "Operand"]

_VERSION, _CREATED, _REVISION, _VALUE, _LEASE = range(5)
_EQUAL, _GREATER, _LESS, _NOT_EQUAL = range(4)
#: Targets and results in the order in which the service ``store`` numbers them.
TARGETS: Final = ("version", "created", "revision", "value", "lease")
SIGNS: Final = ("==", ">", "<", "!=")


class Condition:
    """One comparison of a transaction. It holds or not in the cluster, so it has no truth here."""

    __slots__ = ("_compare",)

    def __init__(self, target: int, result: int, span: tuple[bytes, bytes], value: Any) -> None:
        self._compare = [target, result, *span, value]

    def encode(self) -> list[Any]:
        """Return the compare as the service takes it."""
        return self._compare

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is compared in the cluster: give it to txn(when=[...]). A chain such as "
            "1 < x < 5, and, or, not need two conditions"
        )

    def __repr__(self) -> str:
        target, result, key, end, value = self._compare
        keys = f"{key!r}" if not end else f"{key!r}..{end!r}"
        return f"Key({keys}).{TARGETS[target]} {SIGNS[result]} {value!r}"


class Operand:
    """The version, revision, value or lease of a key, to be compared with ``==``, ``!=``, <, >."""

    __slots__ = ("_span", "_target")

    def __init__(self, target: int, span: tuple[bytes, bytes]) -> None:
        self._target, self._span = target, span

    def _compared(self, result: int, value: Any) -> Condition:
        if self._target == _VALUE:
            value = as_bytes("value", value)
        return Condition(self._target, result, self._span, value)

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self._compared(_EQUAL, value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return self._compared(_NOT_EQUAL, value)

    def __lt__(self, value: int | Bytes) -> Condition:
        return self._compared(_LESS, value)

    def __gt__(self, value: int | Bytes) -> Condition:
        return self._compared(_GREATER, value)

    __hash__ = None  # type: ignore[assignment]


class Key:
    """A key, or all keys of a range, in a condition.

    A key that does not exist has version, revisions and lease 0, and its value equals nothing. A
    condition on a range holds if it does for each key of it.
    """

    __slots__ = ("_span",)

    def __init__(
        self,
        key: Bytes | None = None,
        *,
        prefix: Bytes | None = None,
        start: Bytes | None = None,
        end: Bytes | None = None,
    ) -> None:
        if key is not None:
            self._span = (as_bytes("key", key), b"")
        else:
            self._span = as_range(prefix, start, end)

    @property
    def version(self) -> Operand:
        """How often the key was written since it was made; 0 if it does not exist."""
        return Operand(_VERSION, self._span)

    @property
    def created(self) -> Operand:
        """The revision that made the key."""
        return Operand(_CREATED, self._span)

    @property
    def revision(self) -> Operand:
        """The revision of the last write."""
        return Operand(_REVISION, self._span)

    @property
    def value(self) -> Operand:
        """The value."""
        return Operand(_VALUE, self._span)

    @property
    def lease(self) -> Operand:
        """The lease, 0 for none."""
        return Operand(_LEASE, self._span)
