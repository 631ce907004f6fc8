"""The mistakes that keep a plugin from being loaded, and the message for each."""

from __future__ import annotations

import types
from typing import Any, ClassVar

import pytest

from braft_core.abc import Contact, Discovery, Serializer
from braft_core.plugin import HOOKS_VERSION, hookimpl
from braft_core.plugin.validation import class_problems, hook_problems, hooks_of, signature


def module_of(source: str) -> types.ModuleType:
    module = types.ModuleType("made")
    exec(source, {"hookimpl": hookimpl}, module.__dict__)  # noqa: S102 - the sources below
    return module


GOOD = [
    "@hookimpl\ndef braft_on_leader_changed(node, leader, term): pass",
    "@hookimpl\ndef braft_on_leader_changed(term): pass",
    "@hookimpl\ndef braft_on_leader_changed(): pass",
    "@hookimpl(tryfirst=True)\ndef braft_on_started(node): pass",
    "@hookimpl(specname='braft_on_started')\ndef begin(node): pass",
    "braft_on_started = hookimpl(lambda node: None)",
    "@hookimpl\ndef braft_on_started(node): pass\ndef helper(): pass\nBRAFT_X = 1",
]

BAD = [
    ("", "it implements no hook: nothing in it is named braft_"),
    (
        "@hookimpl\ndef braft_on_leader_change(node): pass",
        "there is no hook braft_on_leader_change; did you mean braft_on_leader_changed?",
    ),
    (
        "def braft_regsiter_discovery(): pass",
        "there is no hook braft_regsiter_discovery; did you mean braft_register_discovery?",
    ),
    ("@hookimpl\ndef quite_another(): pass", "there is no hook quite_another; names that begin"),
    ("def braft_zzzzzz(): pass", "names that begin with braft_ are reserved for: braft_register_d"),
    ("def braft_on_started(node): pass", "braft_on_started has no @hookimpl"),
    ("braft_on_started = 7", "braft_on_started must be a function, not 7"),
    ("class braft_on_started: pass", "braft_on_started must be a function, not <class"),
    ("@hookimpl\nasync def braft_on_started(node): pass", "braft_on_started is async"),
    ("@hookimpl\nasync def braft_on_started(node): yield", "braft_on_started is async"),
    ("@hookimpl\ndef braft_on_started(node): yield", "braft_on_started is a generator"),
    ("@hookimpl(wrapper=True)\ndef braft_on_started(node): yield", "does not support wrappers"),
    ("@hookimpl(hookwrapper=True)\ndef braft_on_started(node): yield", "does not support wrappers"),
    (
        "@hookimpl\ndef braft_on_leader_changed(node, leader_id): pass",
        "takes 'leader_id', which the hook does not have: "
        "braft_on_leader_changed(node, leader, term)",
    ),
    ("@hookimpl\ndef braft_on_started(*nodes): pass", "takes *nodes, which braft never passes"),
    ("@hookimpl\ndef braft_on_started(**kw): pass", "takes **kw, which braft never passes"),
    ("@hookimpl\ndef braft_on_started(*, node): pass", "takes node, which braft never passes"),
    ("@hookimpl\ndef braft_on_started(node=None): pass", "gives 'node' a default"),
]


@pytest.mark.parametrize("source", GOOD)
def test_accepts(source: str) -> None:
    assert hook_problems(module_of(source)) == []


@pytest.mark.parametrize(("source", "words"), BAD)
def test_refuses_with_a_sentence(source: str, words: str) -> None:
    problems = hook_problems(module_of(source))
    assert len(problems) == 1
    assert words in problems[0]


@pytest.mark.parametrize("needed", [1, HOOKS_VERSION])
def test_accepts_a_plugin_built_for_these_hooks(needed: int) -> None:
    assert hook_problems(module_of(f"BRAFT_HOOKS = {needed}\n{GOOD[0]}")) == []


@pytest.mark.parametrize("needed", ["0", "-1", "True", "'1'", "1.0", "None"])
def test_refuses_an_invalid_version_of_hooks(needed: str) -> None:
    problems = hook_problems(module_of(f"BRAFT_HOOKS = {needed}\n{GOOD[0]}"))
    assert problems == [
        f"BRAFT_HOOKS is {needed}; accepted: a whole number from 1 to {HOOKS_VERSION}"
    ]


def test_newer_hooks_are_not_called_misspelt() -> None:
    newer = f"BRAFT_HOOKS = {HOOKS_VERSION + 1}\n@hookimpl\ndef braft_on_dawn(node): pass"
    assert hook_problems(module_of(newer)) == [
        f"it needs version {HOOKS_VERSION + 1} of braft's hooks, but this braft-core has "
        f"version {HOOKS_VERSION}; upgrade braft-core, or install an older version of the plugin"
    ]


def test_lists_every_problem() -> None:
    assert len(hook_problems(module_of("\n".join(source for source, _ in BAD[1:4])))) == 3


def test_hooks_of_a_plugin() -> None:
    assert hooks_of(module_of("\n".join(GOOD[2:5]))) == [
        "braft_on_leader_changed",
        "braft_on_started",
        "braft_on_started",
    ]


class Instance:
    """Plugin with state: an instance, not a module."""

    @hookimpl
    def braft_on_started(self, node: Any) -> None:
        pass

    @hookimpl
    @staticmethod
    def braft_on_stopping(node: Any) -> None:
        pass

    @hookimpl
    @classmethod
    def braft_on_leader_changed(cls, term: int) -> None:
        pass

    @property
    def explosive(self) -> None:
        raise AssertionError("a property must not be run to look for hooks")


def test_accepts_an_instance_and_runs_no_property_of_it() -> None:
    assert hook_problems(Instance()) == []


def test_an_instance_is_checked_as_strictly() -> None:
    class Wrong:
        @hookimpl
        def braft_on_started(self, nodes: Any) -> None:
            pass

    assert "takes 'nodes'" in hook_problems(Wrong())[0]


def test_refuses_a_class() -> None:
    assert "it is the class Instance; give a module or an instance" in hook_problems(Instance)


class Complete(Discovery):
    name: ClassVar[str] = "complete"

    async def discover(self) -> list[Contact]:
        return []


class Packing(Serializer):
    name: ClassVar[str] = "packing"
    tag: ClassVar[int] = 255

    def dumps(self, value: Any) -> bytes:
        return b""

    def loads(self, data: bytes) -> Any:
        return None


def test_accepts_complete_classes() -> None:
    assert class_problems("discovery", Complete) == []
    assert class_problems("serializer", Packing) == []


@pytest.mark.parametrize("name", ["", "Lab", "a b", "a:b", "a,b", "1a", None, 7])
def test_refuses_names_that_cannot_be_typed(name: object) -> None:
    made = type("Made", (Complete,), {"name": name})
    assert f"Made.name is {name!r}; accepted: " in class_problems("discovery", made)[0]


@pytest.mark.parametrize("tag", [0, 256, -1, True, "1", None, 1.0])
def test_refuses_tags_beyond_one_byte(tag: object) -> None:
    made = type("Made", (Packing,), {"tag": tag})
    assert f"Made.tag is {tag!r}; accepted: " in class_problems("serializer", made)[0]


def test_refuses_what_is_no_class_of_the_kind() -> None:
    for provided in (Complete("", None), Packing, None, "lab", lambda: None):  # type: ignore[arg-type]
        assert (
            "is not a subclass of braft_core.abc.Discovery"
            in (class_problems("discovery", provided)[0])
        )


def test_refuses_an_unfinished_class() -> None:
    class Unfinished(Serializer):
        name = "unfinished"
        tag = 99

    assert "does not implement dumps, loads" in class_problems("serializer", Unfinished)[0]


def test_a_class_without_any_name_is_refused() -> None:
    class Nameless(Discovery):
        async def discover(self) -> list[Contact]:
            return []

    assert "Nameless.name is None" in class_problems("discovery", Nameless)[0]


def test_signature_is_what_one_writes() -> None:
    assert signature("braft_on_leader_changed") == "braft_on_leader_changed(node, leader, term)"
    assert signature("braft_register_storage") == "braft_register_storage()"
