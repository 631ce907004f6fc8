"""Encode any value as JSON, and decode only valid JSON."""

from __future__ import annotations

import json
import math
from datetime import date
from json import scanner
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import strict_json

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=())) | st.integers() | st.floats(), inner
        )
    ),
)


def _strictly(text: str | bytes) -> Any:
    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} in {text!r}")

    return json.loads(text, parse_constant=refuse)


@given(ANYTHING)
def test_whatever_it_is_the_text_is_json_in_utf8(value: Any) -> None:
    _strictly(strict_json.encode(value).decode())
    assert _strictly(strict_json.dumps(value, ascii_only=True)) == _strictly(
        strict_json.dumps(value)
    )


@given(ANYTHING)
def test_ascii_only_is_ascii(value: Any) -> None:
    assert strict_json.dumps(value, ascii_only=True).isascii()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        ([-math.inf, 1.5], ["-Infinity", 1.5]),
        ({"a": {"b": (math.nan,)}}, {"a": {"b": ["NaN"]}}),
        (b"\x00\xff", "AP8="),
        ({"a": b"\x00\xff", "b": math.nan}, {"a": "AP8=", "b": "NaN"}),
        ("h\udcfcst", "h\\udcfcst"),
        ({"\udc80": "grün"}, {"\\udc80": "grün"}),
        ({b"k": 1, 2: 3, None: 4, (1, 2): 5}, {"aw==": 1, "2": 3, "null": 4, "(1, 2)": 5}),
        (True, True),
        (2**64, 2**64),
    ],
)
def test_what_json_has_no_form_for_has_one_answer(value: Any, written: Any) -> None:
    assert _strictly(strict_json.dumps(value)) == written


def test_an_integer_that_python_does_not_print_is_hexadecimal() -> None:
    assert _strictly(strict_json.dumps([1 << 20_000])) == [hex(1 << 20_000)]


def test_other_objects_are_refused_or_shown() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(TypeError, match="date has no JSON form"):
        strict_json.dumps({"when": date(2024, 5, 15)})
    assert strict_json.dumps(date(2024, 5, 15), anything=True) == '"2024-05-15"'
    shown = _strictly(strict_json.dumps([Hostile(), math.nan], anything=True))
    assert shown == ["(Hostile, which cannot be shown)", "NaN"]


def test_lines_for_people_are_as_strict() -> None:
    value = {"a": [math.nan], "b": "h\udcfcst"}
    assert strict_json.dumps({"a": [1]}, indent=1) == '{\n "a": [\n  1\n ]\n}'
    assert _strictly(strict_json.dumps(value, indent=2)) == {"a": ["NaN"], "b": "h\\udcfcst"}


def test_a_value_within_itself_and_one_too_deep_end() -> None:
    ring: list[Any] = [1]
    ring += [ring, ring]
    assert _strictly(strict_json.dumps(ring)) == [1, *["(a value within itself)"] * 2]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested more than" in strict_json.dumps(deep)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "Expecting"),
        (b"NaN", "NaN is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"1e999", "too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' appears twice"),
        (b'"\\ud800"', "surrogates"),
        (b"18446744073709551616", "integers are within"),
        (b"[" * 65 + b"]" * 65, "nested too deeply"),
        (b"[" * 200_000, "nested too deeply"),
        (b"\xff", "invalid start byte"),
        ('"grün"'.encode("utf-16"), "utf-8"),
        (b"9" * 5000, "4300 digits"),
    ],
)
def test_what_could_not_be_written_back_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        strict_json.loads(text)


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert strict_json.loads(b'\xef\xbb\xbf{"a": null}') == {"a": None}


def test_lenient_reading_takes_what_older_nodes_wrote() -> None:
    assert math.isnan(strict_json.loads_lenient(b'{"a": NaN}')["a"])
    with pytest.raises(ValueError, match="deeply"):
        strict_json.loads_lenient("[" * 200_000)


LARGE = [
    {f"k{number}": [number, -1.5e3, "ä\n", None, True, {}] for number in range(5000)},
    [[] for _ in range(30_000)],
    ["a,[{" * 20_000],
]


@pytest.mark.parametrize("value", LARGE, ids=["dict", "list", "text"])
def test_large_documents_are_read_as_small_ones(value: Any) -> None:
    assert strict_json.loads(strict_json.encode(value)) == value


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"NaN]", "NaN is not JSON"),
        (b"1", "Expecting ',' delimiter"),
        (b'{"a":1,"b":2,"a":3}]', "the key 'a' appears twice"),
        (b"18446744073709551616]", "integers are within"),
        (b"[" * 70 + b"]" * 71, "nested too deeply"),
        (b'"\\ud800"]', "surrogates not allowed"),
        (b"1] 2", "Extra data"),
    ],
)
def test_large_documents_are_refused_as_small_ones(tail: bytes, reason: str) -> None:
    for head in (b"[", b"[" + b"1," * 50_000):
        with pytest.raises(ValueError, match=reason):
            strict_json.loads(head + tail)


def test_documents_of_many_values_are_not_left_to_the_parser_in_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It would hold the interpreter's lock for up to two seconds with documents that HTTP accepts.
    slow: list[int] = []
    make = scanner.py_make_scanner  # type: ignore[attr-defined]  # typeshed lacks it

    def watched(decoder: json.JSONDecoder) -> Any:
        slow.append(1)
        return make(decoder)

    monkeypatch.setattr(scanner, "py_make_scanner", watched)
    strict_json.loads(b"[" + b"[]," * 30_000 + b"[]]")
    assert slow
    slow.clear()
    strict_json.loads(b'["' + b"x" * 1_000_000 + b'"]')
    strict_json.loads(b"[1, 2, 3]")
    assert not slow


def test_a_repeated_key_among_many_is_found_at_once() -> None:
    members = ",".join(f'"{number}":0' for number in range(100_000))
    with pytest.raises(ValueError, match="the key '99999' appears twice"):
        strict_json.loads(f'{{{members},"99999":1}}')
