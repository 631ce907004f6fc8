"""Choosing classes by name, and the errors for unknown names."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from braft_core.errors import ConfigError, PluginConflict, PluginLoadError, PluginNotFound
from braft_core.plugin import hookimpl
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import FIRST_PARTY, Provider, Registry, parse_discovery

Providing = Callable[[str, Any], types.ModuleType]


def with_providers(*plugins: tuple[types.ModuleType, str]) -> Registry:
    loaded = Plugins()
    for module, name in plugins:
        loaded.register(module, name, f"braft-{name}", "1.0")
    return Registry(loaded)


def test_finds_a_class_by_kind_and_name(
    providing: Providing, classes: types.SimpleNamespace
) -> None:
    registry = with_providers(
        (providing("discovery", classes.Lab), "lab"),
        (providing("service", [classes.Counter]), "counter"),
    )
    assert registry.get("discovery", "lab") is classes.Lab
    assert registry.get("service", "counter") is classes.Counter
    assert registry.names("discovery") == ("lab",)
    assert registry.classes("service") == (classes.Counter,)
    assert registry.classes("storage") == ()


def test_only_the_kind_that_is_asked_for_is_collected() -> None:
    module = types.ModuleType("made")

    def hook() -> None:
        raise AssertionError("not asked for")

    module.__dict__["braft_register_storage"] = hookimpl(hook, specname="braft_register_storage")
    registry = with_providers((module, "lab"))
    assert registry.names("discovery") == ()
    with pytest.raises(PluginLoadError, match="braft_register_storage raised AssertionError"):
        registry.names("storage")


def test_an_unknown_name_says_what_is_installed(
    providing: Providing, classes: types.SimpleNamespace
) -> None:
    registry = with_providers((providing("discovery", classes.Lab), "lab"))
    with pytest.raises(PluginNotFound) as caught:
        registry.get("discovery", "lap")
    assert caught.value.message == (
        "no discovery 'lap' is installed; installed: lab (braft-lab 1.0); did you mean lab?"
    )
    assert caught.value.data == {"kind": "discovery", "name": "lap", "known": ["lab"]}


@pytest.mark.parametrize(("kind", "name"), sorted(FIRST_PARTY))
def test_a_missing_first_party_name_says_how_to_install_it(kind: Any, name: str) -> None:
    with pytest.raises(PluginNotFound) as caught:
        Registry(Plugins()).get(kind, name)
    assert caught.value.message == (
        f"no {kind} '{name}' is installed; installed: none; "
        f"install it with: pip install {FIRST_PARTY[kind, name]}"
    )


def test_a_disabled_plugin_is_mentioned(install: Callable[..., str]) -> None:
    install("braft-lab", "raise RuntimeError", entry="lab")
    with pytest.raises(
        PluginNotFound, match=r"disabled by BRAFT_PLUGINS_DISABLE: lab \(braft-lab 1.0\)"
    ):
        Registry(Plugins.load(("lab",))).get("discovery", "lab")


def test_a_disabled_first_party_plugin_has_no_install_hint(install: Callable[..., str]) -> None:
    install("braft-k8s", "raise RuntimeError", entry="k8s")
    install("braft-lab", "raise RuntimeError", entry="lab")
    registry = Registry(Plugins.load(("k8s", "lab", "mdns", "static", "serializers")))
    with pytest.raises(PluginNotFound) as caught:
        registry.get("discovery", "k8s")
    assert caught.value.message.endswith("; disabled by BRAFT_PLUGINS_DISABLE: k8s (braft-k8s 1.0)")


def test_an_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(PluginNotFound, match="no kind of plugin 'colour'; known: discovery, "):
        Registry(Plugins()).names("colour")


def test_two_providers_of_one_name_are_a_conflict(
    providing: Providing, classes: types.SimpleNamespace
) -> None:
    registry = with_providers(
        (providing("discovery", classes.Lab), "one"), (providing("discovery", classes.Lab), "two")
    )
    with pytest.raises(PluginConflict) as caught:
        registry.get("discovery", "lab")
    assert "the discovery name 'lab' is provided by braft-one 1.0 and by braft-two 1.0" in (
        caught.value.message
    )
    assert "BRAFT_PLUGINS_DISABLE=two" in caught.value.message
    assert caught.value.data["distributions"] == ["braft-one", "braft-two"]


def test_a_plugin_cannot_take_a_name_of_the_core(install: Callable[..., str]) -> None:
    install(
        "braft-thief",
        """
        from braft_core.serializers.msgpack import MsgpackSerializer

        @hookimpl
        def braft_register_serializer():
            return type("Thief", (MsgpackSerializer,), {"tag": 222})
        """,
        entry="thief",
    )
    with pytest.raises(PluginConflict, match=r"'msgpack' is provided by braft-core .* braft-thief"):
        Registry(Plugins.load()).names("serializer")


def test_two_serializers_with_one_tag_are_a_conflict(
    providing: Providing, classes: types.SimpleNamespace
) -> None:
    other = type("Other", (classes.Packing,), {"name": "other"})
    registry = with_providers(
        (providing("serializer", classes.Packing), "one"), (providing("serializer", other), "two")
    )
    with pytest.raises(PluginConflict, match="serializer tag 200 is provided by braft-one"):
        registry.names("serializer")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "returned None; accepted: a class or a list of classes"),
        (7, "7 is not a subclass of braft_core.abc.Discovery"),
        ([object], "is not a subclass"),
    ],
)
def test_an_answer_that_is_no_class_is_refused(
    providing: Providing, answer: Any, words: str
) -> None:
    registry = with_providers((providing("discovery", answer), "lab"))
    with pytest.raises(PluginLoadError, match=r"plugin 'lab' of braft-lab 1\.0") as caught:
        registry.names("discovery")
    assert words in caught.value.message


def test_describes_everything(providing: Providing, classes: types.SimpleNamespace) -> None:
    module = providing("discovery", [classes.Lab])

    for hook in ("braft_on_started", "braft_on_stopping"):
        vars(module)[hook] = hookimpl(lambda node: None)
    vars(module)["braft_register_cli"] = hookimpl(lambda app: None)
    registry = with_providers((module, "lab"))
    assert registry.describe() == (
        Provider("lab", "discovery", "braft-lab", "1.0", "lab"),
        Provider("lab", "cli", "braft-lab", "1.0", "lab"),
        Provider("lab", "observer", "braft-lab", "1.0", "lab"),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mdns", ("mdns", "")),
        ("mdns:_braft._tcp", ("mdns", "_braft._tcp")),
        ("mdns:8080", ("mdns", "8080")),
        ("static:a,b,c", ("static", "a,b,c")),
        ("k8s:namespace=x,portname=y,a=b", ("k8s", "namespace=x,portname=y,a=b")),
        ("k8s", ("k8s", "")),
        ("lab:a:b", ("lab", "a:b")),
        (" lab ", ("lab", "")),
        ("a", ("static", "a")),
        ("a,b,c", ("static", "a,b,c")),
        ("a, b ,c,", ("static", "a, b ,c,")),
        ("localhost:15000", ("static", "localhost:15000")),
        ("consul:8500", ("static", "consul:8500")),
        ("10.0.0.1,10.0.0.2:15000", ("static", "10.0.0.1,10.0.0.2:15000")),
        ("n-1.example.org.:1,n_2", ("static", "n-1.example.org.:1,n_2")),
        ("[::1]:15000,[fe80::1]", ("static", "[::1]:15000,[fe80::1]")),
        ("::1", ("static", "::1")),
        ("fe80::1,a", ("static", "fe80::1,a")),
        ("lab.example", ("static", "lab.example")),
        ("consul:service=x", ("consul", "service=x")),
        ("a:70000", ("a", "70000")),
        ("consul:", ("consul", "")),
    ],
)
def test_splits_a_discovery(value: str, expected: tuple[str, str]) -> None:
    assert parse_discovery(value, ["lab"]) == expected


@pytest.mark.parametrize("value", ["", " ", ",", "a b", "a;b", "=x", "-a", "[::1", "[x]:1", ":1"])
def test_refuses_what_is_neither(value: str) -> None:
    with pytest.raises(ConfigError, match=r"BRAFT_DISCOVERY=.* accepted: a list of hosts") as e:
        parse_discovery(value, ["lab"])
    assert "with one of: lab; not installed: k8s (pip install braft-k8s), mdns" in e.value.message
    assert e.value.data == {"setting": "BRAFT_DISCOVERY", "value": value.strip()}


@pytest.mark.parametrize(
    ("value", "item"),
    [("127.0.0.1:15000,:x", ":x"), ("a, b c ,d", "b c"), ("a,b:99999", "b:99999")],
)
def test_the_item_of_a_list_that_is_no_host_is_named(value: str, item: str) -> None:
    with pytest.raises(ConfigError, match=f"{item!r} is not a host; accepted"):
        parse_discovery(value, ["static"])


def test_what_is_installed_is_not_offered_for_installation() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_discovery(",", ["static", "mdns", "k8s"])
    assert caught.value.message.endswith("with one of: k8s, mdns, static")
    with pytest.raises(ConfigError, match="one of: none is installed; not installed: k8s"):
        parse_discovery(",", [])


@pytest.mark.parametrize(
    ("value", "scheme"), [("mdsn", "mdns"), ("MDNS", "mdns"), ("k8", "k8s"), ("statc", "static")]
)
def test_a_misspelt_scheme_is_not_taken_for_a_host(value: str, scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{scheme}'.*'static:{value}'"):
        parse_discovery(value, [])
