"""Typed values of every kind, for the tests of all serializers."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import strategies as st

from braft_core.serializers.command_types import TypeRegistry
from braft_testing.serializers import plain_values


@dataclasses.dataclass(frozen=True)
class Order:
    item: Any
    count: int = 1


@attrs.frozen
class Line:
    _price: Any
    note: Any = None


class Point(msgspec.Struct, frozen=True):
    x: Any
    y: Any = 0


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@pytest.fixture(scope="session")
def registry() -> TypeRegistry:
    """Return a separate registry with a class of each kind."""
    made = TypeRegistry()
    for cls in (Order, Line, Point, Colour):
        made.register(cls, f"test.{cls.__name__.lower()}")
    return made


_OFFSETS = st.none() | st.builds(
    datetime.timezone,
    st.timedeltas(
        min_value=datetime.timedelta(hours=-23, minutes=-59),
        max_value=datetime.timedelta(hours=23, minutes=59),
    ),
)
_DECIMALS = st.decimals(allow_nan=False) | st.sampled_from(
    [decimal.Decimal(text) for text in ("0", "-0", "0E+5", "1.10", "1E-400", "-Infinity")]
)
_BIG = st.integers(min_value=1 << 64, max_value=1 << 300) | st.integers(
    min_value=-(1 << 300), max_value=-(1 << 63) - 1
)
_ATOMS = (
    _BIG
    | _DECIMALS
    | st.uuids()
    | st.dates()
    | st.timedeltas()
    | st.datetimes(timezones=_OFFSETS, allow_imaginary=True)
    | st.times(timezones=_OFFSETS)
    | st.sampled_from(Colour)
)
_HASHABLE = st.recursive(
    _ATOMS | st.integers(-9, 9) | st.text("ab", max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.frozensets(inner, max_size=3)
        | st.builds(Order, inner)
        | st.builds(Line, inner, inner)
        | st.builds(Point, inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="session")
def typed_values() -> st.SearchStrategy[Any]:
    """Values of all kinds, in one another."""
    return st.recursive(
        plain_values() | _ATOMS,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(st.sampled_from(["@", "a", "$"]), inner, max_size=3)
            | st.dictionaries(_HASHABLE, inner, max_size=3)
            | st.sets(_HASHABLE, max_size=4)
            | st.frozensets(_HASHABLE, max_size=4)
            | st.builds(Order, inner)
            | st.builds(Line, inner, inner)
            | st.builds(Point, inner, inner)
        ),
        max_leaves=12,
    )
