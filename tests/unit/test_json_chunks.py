"""Large values as JSON, piece by piece."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import encoding_cost, json_chunks, strict_json
from braft_core.encoding_cost import MAX_CHARACTERS, MAX_VALUES

_scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.binary(max_size=3)
_values = st.recursive(
    _scalars | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=40,
)


@given(_values, st.integers(1, 12))
def test_the_same_text_as_in_one_piece(value: Any, parts: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_chunks, "MAX_VALUES", parts)
        patch.setattr(encoding_cost, "MAX_VALUES", parts)
        assert json_chunks.encode(value) == strict_json.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        {f"key-{number}": {"n": number} for number in range(20_000)},
        [[] for _ in range(50_000)],
        {"a": 1, "within": {"b": [[list(range(20_000))], "x"]}, "z": (2, 3)},
        {f"key-{number}": "x" * 50_000 for number in range(100)},
        [b"x" * 60_000] * 20,
        {"k" * 300_000: [0] * 5000},
        [*range(5000), math.nan, "\ud800"],
    ],
    ids=["dict", "list", "within", "texts", "bytes", "key", "odd"],
)
def test_no_call_of_the_encoder_is_long(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # During each call no other thread of the process runs.
    encoded: list[Any] = []
    whole = strict_json.encode(value)

    def watched(value: Any) -> str:
        encoded.append(value)
        return text(value)

    text = strict_json.dumps
    monkeypatch.setattr(strict_json, "dumps", watched)
    assert json_chunks.encode(value) == whole
    assert len(encoded) > 1
    for each in encoded:
        assert (
            encoding_cost.remaining_budget(each, MAX_VALUES + 2) > 0
            or len(str(each)) < 2 * MAX_CHARACTERS
        )


def test_what_is_within_itself_is_shown_as_ever() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert json_chunks.encode(value) == strict_json.encode(value)


def test_a_small_value_is_one_piece() -> None:
    assert list(json_chunks.iter_chunks({"a": [1, 2]})) == ['{"a": [1, 2]}']
    assert list(json_chunks.iter_chunks("x" * 1_000_000)) == [strict_json.dumps("x" * 1_000_000)]
