"""The kit for plugin authors: each check fails on a plugin that breaks its rule."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from braft_core.plugin import hookimpl
from braft_core.plugin.options import PluginOptions
from braft_testing.plugins import check_plugin

Providing = Callable[[str, Any], types.ModuleType]


def test_a_good_plugin_passes_and_what_it_provides_is_returned(
    providing: Providing, classes: types.SimpleNamespace
) -> None:
    registry = check_plugin(providing("discovery", classes.Lab))
    assert registry.get("discovery", "lab") is classes.Lab


def test_a_misspelt_hook_fails() -> None:
    module = types.ModuleType("made")
    vars(module)["braft_on_start"] = hookimpl(lambda node: None)
    with pytest.raises(AssertionError, match="did you mean braft_on_started"):
        check_plugin(module)


def test_a_wrong_signature_fails() -> None:
    module = types.ModuleType("made")
    vars(module)["braft_on_started"] = hookimpl(lambda nodes: None)
    with pytest.raises(AssertionError, match="takes 'nodes'"):
        check_plugin(module)


def test_a_class_without_a_name_fails(providing: Providing, classes: types.SimpleNamespace) -> None:
    nameless = type("Nameless", (classes.Lab,), {"name": None})
    with pytest.raises(AssertionError, match=r"Nameless\.name is None"):
        check_plugin(providing("discovery", nameless))


def test_a_raising_register_hook_fails() -> None:
    def hook() -> None:
        raise ImportError("no such library")

    module = types.ModuleType("made")
    vars(module)["hook"] = hookimpl(hook, specname="braft_register_storage")
    with pytest.raises(AssertionError, match="raised ImportError: no such library"):
        check_plugin(module)


def test_every_kind_is_reported(providing: Providing) -> None:
    module = providing("discovery", 7)
    vars(module).update(vars(providing("service", 8)))
    with pytest.raises(AssertionError) as caught:
        check_plugin(module)
    assert "7 is not a subclass of braft_core.abc.Discovery" in str(caught.value)
    assert "8 is not a subclass of braft_core.abc.Service" in str(caught.value)


def test_an_option_without_an_explanation_fails(providing: Providing) -> None:
    class Silent(PluginOptions):
        section = "silent"
        size: int = 1
        pause: float = 1.0
        """Pause between two polls."""

    with pytest.raises(AssertionError, match=r"Silent\.size is not explained") as caught:
        check_plugin(providing("options", Silent))
    assert "pause" not in str(caught.value)


def test_options_that_braft_would_refuse_fail(providing: Providing) -> None:
    with pytest.raises(AssertionError, match="not a subclass"):
        check_plugin(providing("options", object))
