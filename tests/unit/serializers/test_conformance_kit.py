"""Every check of the serializer suite can fail: each fails on a broken serializer."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from braft_core.abc import Serializer
from braft_core.errors import DecodeError
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_testing.serializers import SerializerConformance, same


class Broken(MsgpackSerializer):
    """A correct serializer, which subclasses break."""

    name: ClassVar[str] = "broken"
    tag: ClassVar[int] = 99


class NoTag(Broken):
    tag = 0


class StolenTag(Broken):
    tag = 2


class LosesTypes(Broken):
    """Fails with the first value that is tried, so it is always found."""

    def loads(self, data: bytes) -> Any:
        value = super().loads(data)
        return value if type(value) in (str, list, dict) else repr(value)


class Float32(Broken):
    def loads(self, data: bytes) -> Any:
        value = super().loads(data)
        return 16777216.0 if value == 16777217.0 else value


class RefusesTuples(Broken):
    def dumps(self, value: Any) -> bytes:
        if type(value) is tuple:
            raise TypeError("no tuples")
        return super().dumps(value)


class Counts(Broken):
    """Puts a number in front of each value, so that equal values differ."""

    def __init__(self) -> None:
        self.numbers = itertools.count()

    def dumps(self, value: Any) -> bytes:
        return bytes([next(self.numbers) % 256]) + super().dumps(value)

    def loads(self, data: bytes) -> Any:
        return super().loads(data[1:])


class TakesSets(Broken):
    def dumps(self, value: Any) -> bytes:
        return super().dumps(sorted(value) if type(value) is set else value)


class LeaksErrors(Broken):
    def loads(self, data: bytes) -> Any:
        if not data:
            raise ValueError("no data")
        return super().loads(data)


class LeaksErrorsInside(Broken):
    """Raises another error only for bytes that begin correctly."""

    def loads(self, data: bytes) -> Any:
        try:
            return super().loads(data)
        except DecodeError:
            if len(data) > 1:
                raise KeyError(data) from None
            raise


class Recurses(Broken):
    def loads(self, data: bytes) -> Any:
        if data.startswith(b"\x91" * 5000):
            raise RecursionError
        return super().loads(data)


class FillsUp(Broken):
    """Completes truncated input with a zero byte."""

    def loads(self, data: bytes) -> Any:
        try:
            return super().loads(data)
        except DecodeError:
            return super().loads(data + b"\x00")


class IgnoresSpace(Broken):
    def loads(self, data: bytes) -> Any:
        return super().loads(data[:-1] if data.endswith(b" ") and len(data) > 1 else data)


class OneThread(Broken):
    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def dumps(self, value: Any) -> bytes:
        assert threading.get_ident() == self.thread, "wrong thread"
        return super().dumps(value)


class SharedBuffer(Broken):
    """Returns a buffer that another thread may have overwritten."""

    def __init__(self) -> None:
        self.meeting = threading.Barrier(4)
        self.buffer = b""

    def dumps(self, value: Any) -> bytes:
        self.buffer = super().dumps(value)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.5)
        return self.buffer


BROKEN: list[tuple[str, Callable[[], Serializer]]] = [
    ("test_has_a_name_and_a_tag", NoTag),
    ("test_tag_is_its_own", StolenTag),
    ("test_round_trip", LosesTypes),
    ("test_round_trip_at_the_limits", Float32),
    ("test_tuples_come_back_as_lists", RefusesTuples),
    ("test_equal_bytes_for_one_value", Counts),
    ("test_refuses_what_is_not_plain", TakesSets),
    ("test_arbitrary_bytes_raise_only_decode_error", LeaksErrors),
    ("test_damaged_bytes_raise_only_decode_error", LeaksErrorsInside),
    ("test_deep_or_huge_claims_raise_decode_error", Recurses),
    ("test_truncated_bytes_are_refused", FillsUp),
    ("test_trailing_bytes_are_refused", IgnoresSpace),
    ("test_is_used_from_several_threads", OneThread),
    ("test_is_used_from_several_threads", SharedBuffer),
]


def conformance_of(make: Callable[[], Serializer]) -> SerializerConformance:
    class Checks(SerializerConformance):
        examples: ClassVar[int] = 50

        def make(self) -> Serializer:
            return make()

    return Checks()


@pytest.mark.parametrize(("check", "broken"), BROKEN)
def test_check_fails_on_its_broken_serializer(check: str, broken: Callable[[], Serializer]) -> None:
    with pytest.raises((AssertionError, ValueError, LookupError, TypeError, RecursionError)):
        getattr(conformance_of(broken), check)()


def test_every_check_has_a_broken_twin() -> None:
    checks = {
        name
        for name, _ in inspect.getmembers(SerializerConformance, inspect.isfunction)
        if name.startswith("test_")
    }
    assert checks == {check for check, _ in BROKEN}


def test_the_twins_are_right_but_for_what_they_break() -> None:
    """So each failure above is due to the flaw and not to the common base."""
    suite = conformance_of(Broken)
    for check in sorted({check for check, _ in BROKEN}):
        getattr(suite, check)()


@pytest.mark.parametrize(
    ("left", "right"), [(True, 1), (1, 1.0), (0.0, -0.0), ([0], [False]), ({"a": 1}, {"a": 1.0})]
)
def test_same_tells_types_and_signs_apart(left: object, right: object) -> None:
    assert left == right
    assert not same(left, right)
    assert same(left, left)
