"""Conformance suite for serializers: braft's own and those of plugins.

Derive a test class and create the serializer under test; pytest runs the rules::

    from braft_testing.serializers import SerializerConformance


    class TestLab(SerializerConformance):
        def make(self):
            return LabSerializer()

Owns the rules for every serializer. Must not know any particular format. Requires pytest and
Hypothesis.
"""

from __future__ import annotations

import abc
import datetime
import decimal
import enum
import math
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core.abc import Serializer
from braft_core.errors import DecodeError
from braft_core.plugin.validation import class_problems
from braft_core.serializers.plain import INT_MAX, INT_MIN, MAX_DEPTH, check_plain
from braft_core.serializers.registry import RESERVED_TAGS

__all__ = ["EDGE_VALUES", "NOT_PLAIN", "SerializerConformance", "plain_values", "same"]


class _Colour(enum.IntEnum):
    RED = 1


class _Pair(NamedTuple):
    left: int
    right: int


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _nested(depth: int, leaf: Callable[[], Any] = list) -> Any:
    value = leaf()
    for _ in range(depth - 1):
        value = [value]
    return value


#: Plain values at the limits, where formats change their encoding.
EDGE_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    *(n for bits in (0, 5, 7, 8, 15, 16, 31, 32, 53, 63) for n in (-(1 << bits), (1 << bits) - 1)),
    INT_MIN,
    INT_MAX,
    *(0.0, -0.0, 1.0, 1.5, 0.1, 5e-324, sys.float_info.max, 16777217.0, math.inf, -math.inf),
    *("", "a" * 31, "a" * 32, "ä" * 255, "€" * 65536, "\x00", "\U0001f600", "\ud7ff", '"\\$'),
    *(b"", b"\x00\xff", b"b" * 255, b"b" * 256, b"b" * 65536, b"\xd6\xff\x00\x00\x00\x01"),
    *([], [[]], [None] * 15, [0] * 16, [0] * 65536),
    *({}, {"": {}}, {f"{n}": n for n in range(16)}, {"$": 1}, {"$b64": "eA=="}, {"$$": b""}),
    {"$float": "inf"},
    _nested(MAX_DEPTH),
    _nested(MAX_DEPTH, dict),
)

#: Values that look serializable, and must be rejected with ``TypeError``.
NOT_PLAIN: Final[tuple[Any, ...]] = (
    object(),
    {1, 2},
    frozenset({1}),
    1j,
    decimal.Decimal(1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    bytearray(b"x"),
    memoryview(b"x"),
    _Colour.RED,
    _Pair(1, 2),
    OrderedDict(a=1),
    INT_MAX + 1,
    INT_MIN - 1,
    1 << 70,
    "\ud800",
    {"\udfff": 1},
    {1: "a"},
    {None: 1},
    {b"k": 1},
    {True: 1},
    {("a",): 1},
    _nested(MAX_DEPTH + 1),
    _nested(100_000),
    _cycle(),
)


def plain_values() -> st.SearchStrategy[Any]:
    """Return a Hypothesis strategy of plain values, without NaN (which equals nothing)."""
    text = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["$", "$b64", "$$a"])
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(INT_MIN, INT_MAX)
        | st.floats(allow_nan=False)
        | text
        | st.binary()
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(text, inner, max_size=6),
        max_leaves=20,
    )


def same(left: Any, right: Any) -> bool:
    """Compare and distinguish ``True`` from ``1``, ``1`` from ``1.0`` and ``0.0`` from ``-0.0``."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right) and left == right
    return bool(left == right)


class SerializerConformance(abc.ABC):
    """Rules for every serializer. Derive, define :meth:`make`, and let pytest collect it."""

    #: How many examples Hypothesis tries for each property.
    examples: ClassVar[int] = 200

    @abc.abstractmethod
    def make(self) -> Serializer:
        """Return a new instance of the serializer under test."""

    def test_has_a_name_and_a_tag(self) -> None:
        """Check that the registry accepts both."""
        problems = class_problems("serializer", type(self.make()))
        _require(not problems, "; ".join(problems))

    def test_tag_is_its_own(self) -> None:
        """Check that the tag differs from those of the project's own serializers.

        The serializer under test may itself be one of those.
        """
        serializer = self.make()
        owner, distribution = RESERVED_TAGS.get(serializer.tag, (serializer.name, ""))
        _require(
            owner == serializer.name,
            f"tag {serializer.tag} is that of {owner!r} of {distribution}; take one above 15",
        )

    def test_round_trip(self) -> None:
        """Check that every plain value is decoded with the same value and types."""
        serializer = self.make()
        self._for_all(plain_values(), lambda value: _round_trip(serializer, value))

    def test_round_trip_at_the_limits(self) -> None:
        """Check the same at encoding limits, and for the deepest nesting."""
        serializer = self.make()
        for value in EDGE_VALUES:
            _round_trip(serializer, value)

    def test_tuples_come_back_as_lists(self) -> None:
        """Check that a tuple is encoded as a list, at any depth."""
        serializer = self.make()
        back = serializer.loads(serializer.dumps((1, ("a", ()), {"k": (None,)})))
        _require(same(back, [1, ["a", []], {"k": [None]}]), f"tuples came back as {back!r}")

    def test_equal_bytes_for_one_value(self) -> None:
        """Check that a value always gives the same bytes, from any instance."""
        one, other = self.make(), self.make()

        def check(value: Any) -> None:
            equal = one.dumps(value) == one.dumps(value) == other.dumps(value)
            _require(equal, f"{value!r} was encoded in two ways")

        self._for_all(plain_values(), check)

    def test_refuses_what_is_not_plain(self) -> None:
        """Check that they raise ``TypeError``, alone or inside a list or dict."""
        serializer = self.make()
        for value in NOT_PLAIN:
            for wrapped in (value, [value], {"key": value}):
                _refused(serializer, wrapped)

    def test_arbitrary_bytes_raise_only_decode_error(self) -> None:
        """Check that any bytes decode to a plain value or raise ``DecodeError``."""
        serializer = self.make()
        self._for_all(st.binary(), lambda data: _decoded_or_refused(serializer, data))

    def test_damaged_bytes_raise_only_decode_error(self) -> None:
        """Check the same for valid bytes with one byte changed: these get further in decoding."""
        serializer = self.make()
        damage = st.tuples(plain_values(), st.integers(0, 1 << 16), st.integers(0, 255))

        def check(drawn: tuple[Any, int, int]) -> None:
            value, position, byte = drawn
            data = bytearray(serializer.dumps(value))
            data[position % len(data)] = byte
            _decoded_or_refused(serializer, bytes(data))

        self._for_all(damage, check)

    def test_deep_or_huge_claims_raise_decode_error(self) -> None:
        """Check that bytes with very many or very long containers raise ``DecodeError``."""
        serializer = self.make()
        for byte in range(256):
            _decoded_or_refused(serializer, bytes([byte]) * 20_000)
            _decoded_or_refused(serializer, bytes([byte]) + b"\x7f\xff\xff\xff\xff\xff\xff\xff")

    def test_truncated_bytes_are_refused(self) -> None:
        """Check that a truncated list is rejected.

        A truncated bare number may be accepted, in a text format.
        """
        serializer = self.make()

        def check(value: Any) -> None:
            data = serializer.dumps([value])
            for length in range(len(data)):
                _must_not_decode(serializer, data[:length])

        self._for_all(plain_values(), check)

    def test_trailing_bytes_are_refused(self) -> None:
        """Check that nothing may follow a value, not even a space."""
        serializer = self.make()

        def check(value: Any) -> None:
            data = serializer.dumps([value])
            for tail in (b"\x00", b" ", b"\n", b"\xff", data):
                _must_not_decode(serializer, data + tail)

        self._for_all(plain_values(), check)

    def test_is_used_from_several_threads(self) -> None:
        """Check that threads can use one instance concurrently without mixing up values."""
        serializer = self.make()
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            barrier.wait(10)
            for turn in range(200):
                _round_trip(serializer, [number, f"{number}" * turn, {"n": [number] * 50}])

        with _eager_thread_switches(), ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(work, number) for number in range(4)]:
                done.result(30)

    def _for_all(self, values: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        # Define the property for each class, because Hypothesis ties an inherited one to the first
        # class that runs it. Examples are derived from the code, so that all runs are the same.
        @settings(
            max_examples=self.examples,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(values)
        def property_holds(value: Any) -> None:
            check(value)

        property_holds()


def _require(holds: bool, message: str) -> None:
    """Assert a condition, also when Python runs with ``-O``."""
    if not holds:
        raise AssertionError(message)


def _round_trip(serializer: Serializer, value: Any) -> None:
    data = serializer.dumps(value)
    _require(type(data) is bytes, f"dumps gave {type(data).__name__}, not bytes")
    back = serializer.loads(data)
    _require(same(back, value), f"{_short(value)} came back as {_short(back)}")


def _refused(serializer: Serializer, value: Any) -> None:
    try:
        with pytest.raises(TypeError):
            serializer.dumps(value)
    except pytest.fail.Exception:
        raise AssertionError(f"{_short(value)} was encoded; it is not plain") from None


def _decoded_or_refused(serializer: Serializer, data: bytes) -> None:
    try:
        value = serializer.loads(data)
    except DecodeError:
        return
    _check_decoded(value, data)


def _check_decoded(value: Any, data: bytes) -> None:
    """Fail if what was decoded from ``data`` is not a plain value."""
    try:
        check_plain(value)
    except TypeError as error:
        raise AssertionError(f"{_short(data)} was decoded to no plain value: {error}") from error


def _must_not_decode(serializer: Serializer, data: bytes) -> None:
    try:
        value = serializer.loads(data)
    except DecodeError:
        return
    raise AssertionError(f"{_short(data)} was decoded to {_short(value)}")


def _short(value: object) -> str:
    """Return a ``repr`` that fits on a line, also of values too deep for ``repr``."""
    try:
        return repr(value)[:200]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


@contextmanager
def _eager_thread_switches() -> Iterator[None]:
    """Switch threads as often as possible, so that shared state shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
