"""Command types: what may be registered, and how a type may change while its log lives."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from typing import Any

import attrs
import msgspec
import pytest

from braft_core import command, command_type
from braft_core.errors import DecodeError, PluginConflict, PluginError
from braft_core.serializers.command_types import TypeRegistry
from braft_core.serializers.typed_values import from_plain, to_plain


def _made(fields: list[Any], **options: Any) -> tuple[type, TypeRegistry]:
    cls = dataclasses.make_dataclass("Order", fields)
    registry = TypeRegistry()
    registry.register(cls, "shop.order", **options)
    return cls, registry


def _through(value: Any, written: TypeRegistry, read: TypeRegistry) -> Any:
    return from_plain(to_plain(value, registry=written), registry=read)


def test_a_field_added_with_a_default_is_read_from_old_entries() -> None:
    old, before = _made([("item", str)])
    new, after = _made([("item", str), ("count", int, dataclasses.field(default=7))])
    assert _through(old("tea"), before, after) == new("tea", 7)


def test_a_field_added_without_a_default_is_named() -> None:
    old, before = _made([("item", str)])
    _, after = _made([("item", str), ("count", int)])
    with pytest.raises(DecodeError, match=r"version 1 of .*'shop.order' lacks 'count'.*default"):
        _through(old("tea"), before, after)


def test_a_removed_field_is_dropped_if_it_is_declared() -> None:
    old, before = _made([("item", str), ("note", str)])
    new, after = _made([("item", str)], removed=["note"])
    assert _through(old("tea", "x"), before, after) == new("tea")
    _, careless = _made([("item", str)])
    with pytest.raises(DecodeError, match="has 'note', which the class has not"):
        _through(old("tea", "x"), before, careless)


def test_an_older_version_is_upgraded_and_a_newer_one_refused() -> None:
    def upgrade(version: int, fields: dict[str, Any]) -> dict[str, Any]:
        assert version == 1
        return {"name": fields["item"].upper()}

    old, before = _made([("item", str)])
    new, after = _made([("name", str)], version=2, upgrade=upgrade)
    assert _through(old("tea"), before, after) == new("TEA")
    with pytest.raises(DecodeError, match=r"version 2 .* up to 1: upgrade it"):
        _through(new("tea"), after, before)


def test_a_constructor_that_refuses_is_a_decode_error() -> None:
    class Refuses:
        def __post_init__(self) -> None:
            raise LookupError("not this one")

    cls = dataclasses.make_dataclass("Order", [("item", str)], bases=(Refuses,))
    registry = TypeRegistry()
    registry.register(cls, "shop.order")
    with pytest.raises(DecodeError, match=r"does not accept .* LookupError: not this one"):
        from_plain({"@": ["shop.order", 1, {"item": "tea"}]}, registry=registry)


@dataclasses.dataclass
class Derived:
    base: int
    double: int = dataclasses.field(init=False)
    later: int = dataclasses.field(default=3, kw_only=True)

    def __post_init__(self) -> None:
        self.double = 2 * self.base


class Keyword(msgspec.Struct, kw_only=True):
    a: int
    b: list[int] = msgspec.field(default_factory=list)


@attrs.define
class Slotted:
    _hidden: int
    shown: list[int] = attrs.Factory(list)


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (Derived(2, later=9), {"base": 2, "later": 9}),
        (Keyword(a=1, b=[2]), {"a": 1, "b": [2]}),
        (Slotted(1, [3]), {"_hidden": 1, "shown": [3]}),
    ],
)
def test_classes_of_each_kind(value: Any, fields: dict[str, Any]) -> None:
    registry = TypeRegistry()
    registry.register(type(value), "a.b")
    plain = to_plain(value, registry=registry)
    assert plain == {"@": ["a.b", 1, fields]}
    assert from_plain(plain, registry=registry) == value
    required = {"@": ["a.b", 1, dict(list(fields.items())[:1])]}
    assert type(from_plain(required, registry=registry)) is type(value)


class Bits(enum.Flag):
    A = 1


class InitVar:
    pass


@dataclasses.dataclass
class Hidden:
    a: int
    seed: dataclasses.InitVar[int]


@dataclasses.dataclass
class Good:
    a: int = 1


class Child(Good):
    pass


@pytest.mark.parametrize(
    ("cls", "name", "options", "words"),
    [
        (int, "a.int", {}, "accepted are dataclasses, attrs classes, msgspec structs and enums"),
        (InitVar, "a.b", {}, "accepted are"),
        (Child, "a.b", {}, "the class itself, not one that it derives from"),
        (Hidden, "a.b", {}, "needs seed, which it does not keep"),
        (Bits, "a.b", {}, "is a Flag"),
        (Good, "nodot", {}, "lower-case words with dots"),
        (Good, "A.b", {}, "lower-case"),
        (Good, "a." + "b" * 200, {}, "at most 128"),
        (Good, "a.b", {"version": 0}, "a version is an int from 1, not 0"),
        (Good, "a.b", {"removed": ["a"]}, "still has the removed a"),
        (Good(), "a.b", {}, "a command type is a class"),
    ],
)
def test_what_is_no_command_type_is_refused(
    cls: Any, name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PluginError, match=words):
        TypeRegistry().register(cls, name, **options)


def test_one_name_is_one_class() -> None:
    registry = TypeRegistry()
    registry.register(Good, "a.b")
    with pytest.raises(PluginConflict, match=r"Good is already 'a.b'"):
        registry.register(Derived, "a.b")
    with pytest.raises(PluginConflict, match=r"already registered as 'a.b'"):
        registry.register(Good, "a.c")
    assert registry.names == ("a.b",)


def test_a_module_that_is_loaded_anew_registers_its_classes_again() -> None:
    registry = TypeRegistry()
    first, second = (dataclasses.make_dataclass("Same", [("a", int)]) for _ in range(2))
    registry.register(first, "a.b")
    registry.register(second, "a.b")
    assert registry.of(first) is None
    assert type(from_plain({"@": ["a.b", 1, {"a": 1}]}, registry=registry)) is second


def test_the_decorator_registers_and_returns_the_class() -> None:
    registry = TypeRegistry()

    @command_type("a.b", version=3, registry=registry)
    @dataclasses.dataclass
    class Mine:
        a: int

    assert registry.of(Mine) is registry.named("a.b")
    assert registry.named("a.b").version == 3


def test_a_command_of_a_class_that_is_not_registered_is_refused() -> None:
    with pytest.raises(PluginError, match=r"@command\(Good\): the class is not a command type"):
        command(Good)


def test_neither_attrs_nor_msgspec_is_imported() -> None:
    script = (
        "import sys, dataclasses, braft_core.serializers.typed_values as t\n"
        "from braft_core.serializers.command_types import TypeRegistry\n"
        "r = TypeRegistry(); C = dataclasses.make_dataclass('C', ['a']); r.register(C, 'a.b')\n"
        "assert t.from_plain(t.to_plain(C(1), registry=r), registry=r) == C(1)\n"
        "print([name for name in ('attr', 'attrs', 'msgspec') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
