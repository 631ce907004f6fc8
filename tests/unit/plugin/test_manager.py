"""Loading plugins one at a time, and the errors for unusable plugins."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from braft_core.errors import PluginConflict, PluginError, PluginLoadError
from braft_core.plugin import hookimpl
from braft_core.plugin.manager import CORE, PluginInfo, Plugins

Install = Callable[..., str]

GOOD = """
@hookimpl
def braft_register_discovery():
    return Lab
"""


def info_of(plugins: Plugins, name: str) -> PluginInfo:
    return next(info for info in plugins.loaded if info.name == name)


def test_the_core_is_loaded_first_and_like_any_plugin() -> None:
    core = Plugins.load().loaded[0]
    assert (core.name, core.distribution) == (CORE, CORE)
    assert core.version
    assert "braft_register_storage" in core.hooks


def test_an_installed_plugin_is_loaded_with_its_origin(install: Install) -> None:
    install("braft-lab", GOOD, entry="lab", version="1.2.3")
    info = info_of(Plugins.load(), "lab")
    assert info == PluginInfo("lab", "braft-lab", "1.2.3", ("braft_register_discovery",))
    assert info.origin == "braft-lab 1.2.3"


def test_each_set_of_plugins_is_its_own() -> None:
    one, other = Plugins(), Plugins()
    one.register(observer(lambda node: None), "only-here")
    assert [info.name for info in one.loaded] == ["only-here"]
    assert other.loaded == ()


BROKEN = {
    "raise RuntimeError('no lab here')": "does not import: RuntimeError: no lab here",
    "import a_module_that_nobody_has": "ModuleNotFoundError: No module named 'a_module_that",
    "def broken(:": "SyntaxError",
    "import sys; sys.exit(3)": "does not import: SystemExit: 3",
    "@hookimpl\ndef braft_on_start(node): pass": "did you mean braft_on_started?",
    "@hookimpl\nasync def braft_on_started(node): pass": "braft_on_started is async",
    "@hookimpl\ndef braft_on_started(nodes): pass": "takes 'nodes'",
    "x = 1": "implements no hook",
    "BRAFT_HOOKS = 999\n@hookimpl\ndef braft_on_dawn(): pass": "upgrade braft-core, or install",
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_plugin_is_named_with_the_way_out(install: Install, source: str) -> None:
    install("braft-lab", source, entry="lab", version="2.0")
    with pytest.raises(PluginLoadError) as caught:
        Plugins.load()
    message = caught.value.message
    assert message.startswith("plugin 'lab' of braft-lab 2.0 cannot be used: ")
    assert BROKEN[source] in message
    assert message.endswith(
        "Fix or uninstall braft-lab, or set BRAFT_PLUGINS_DISABLE=lab to start without it."
    )
    assert caught.value.data == {"plugin": "lab", "distribution": "braft-lab", "version": "2.0"}


def test_an_import_error_is_chained(install: Install) -> None:
    install("braft-lab", "raise RuntimeError('no lab here')", entry="lab")
    with pytest.raises(PluginLoadError) as caught:
        Plugins.load()
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("name", ["lab", "braft-lab", "Braft_Lab", " lab "])
def test_a_disabled_plugin_is_not_even_imported(install: Install, name: str) -> None:
    module = install("braft-lab", "raise RuntimeError", entry="lab")
    plugins = Plugins.load((name,))
    assert module not in sys.modules
    assert [info.name for info in plugins.disabled] == ["lab"]
    assert "lab" not in [info.name for info in plugins.loaded]


def test_failures_are_collected_where_they_are_tolerated(install: Install) -> None:
    install("braft-a", "raise RuntimeError('a')", entry="a")
    install("braft-b", GOOD, entry="b")
    plugins = Plugins.load(tolerate=True)
    assert info_of(plugins, "b").distribution == "braft-b"
    [failure] = plugins.failures
    assert failure.data["plugin"] == "a"


def test_the_order_of_loading_does_not_depend_on_the_disk(install: Install) -> None:
    names = ["m", "z", "a", "k"]
    for name in names:
        install(f"braft-{name}", GOOD, entry=name)
    loaded = [info.name for info in Plugins.load().loaded if info.name in names]
    assert loaded == sorted(names)


def test_disabling_what_is_there_is_not_worth_a_word(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("braft-lab", GOOD, entry="lab")
    Plugins.load(("lab", "braft-lab"))
    assert caplog.text == ""


def test_disabling_an_unknown_name_warns(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("braft-lab", GOOD, entry="lab")
    with caplog.at_level(logging.WARNING, "braft_core.plugin.manager"):
        Plugins.load(("labb",))
    assert "BRAFT_PLUGINS_DISABLE names 'labb', which is not installed; did you mean lab?" in (
        caplog.text
    )


def test_an_empty_name_disables_nothing(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("braft-lab", GOOD, entry="lab")
    plugins = Plugins.load(("", " "))
    assert info_of(plugins, "lab").distribution == "braft-lab"
    assert caplog.text == ""


def test_two_distributions_with_one_entry_point_name(install: Install) -> None:
    install("braft-one", GOOD, entry="lab", version="1.1")
    install("braft-two", GOOD, entry="lab", version="2.2")
    with pytest.raises(PluginConflict) as caught:
        Plugins.load()
    assert "'lab' is claimed by braft-one 1.1 and braft-two 2.2" in caught.value.message
    assert "set BRAFT_PLUGINS_DISABLE to braft-one or braft-two" in caught.value.message
    assert caught.value.data["distributions"] == ["braft-one", "braft-two"]
    assert info_of(Plugins.load(("braft-two",)), "lab").distribution == "braft-one"


def test_the_name_of_the_core_is_taken(install: Install) -> None:
    install("braft-lab", GOOD, entry=CORE)
    with pytest.raises(PluginConflict, match=r"braft-core.* and braft-lab 1\.0"):
        Plugins.load()


def test_one_module_under_two_names_is_refused_by_name(install: Install) -> None:
    module = observer(lambda node: None)
    plugins = Plugins()
    plugins.register(module, "one")
    with pytest.raises(PluginLoadError, match=r"plugin 'two' .*: it is already loaded, as 'one'"):
        plugins.register(module, "two")


def test_a_program_registers_its_own_plugin() -> None:
    seen: list[object] = []
    plugins = Plugins()
    info = plugins.register(observer(seen.append), "mine")
    assert (info.distribution, info.origin) == ("", "plugin mine")
    plugins.notify("braft_on_started", node=1)
    assert seen == [1]


def test_a_raising_observer_is_logged_by_name_and_the_rest_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(node: Any) -> None:
        raise ZeroDivisionError("oops")

    seen: list[object] = []
    plugins = Plugins()
    plugins.register(observer(seen.append), "before")
    plugins.register(observer(fail), "faulty", "braft-faulty", "0.9")
    plugins.register(observer(seen.append), "after")
    with caplog.at_level(logging.ERROR, "braft_core.plugin.manager"):
        plugins.notify("braft_on_started", node="n")
    assert seen == ["n", "n"]
    [record] = caplog.records
    assert record.getMessage() == (
        "plugin faulty (braft-faulty 0.9) raised in braft_on_started; the node continues"
    )
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert vars(record)["plugin"] == "faulty"


def test_an_observer_does_not_swallow_the_end_of_the_process() -> None:
    def leave(node: Any) -> None:
        raise KeyboardInterrupt

    plugins = Plugins()
    plugins.register(observer(leave), "leaving")
    with pytest.raises(KeyboardInterrupt):
        plugins.notify("braft_on_started", node=1)


def test_notify_refuses_what_is_no_observer() -> None:
    plugins = Plugins()
    for event in ("braft_on_start", "braft_register_cli"):
        with pytest.raises(PluginError, match=f"no observer '{event}'; known: braft_on_started"):
            plugins.notify(event, node=1)
    with pytest.raises(PluginError, match=r"braft_on_started\(node\) got nodes"):
        plugins.notify("braft_on_started", nodes=1)


@pytest.mark.parametrize("hook", ["braft_register_http", "braft_register_cli"])
def test_a_plugin_that_cannot_extend_a_front_end_is_named(hook: str) -> None:
    def fail() -> None:
        raise LookupError("no room")

    module = types.ModuleType("made")
    setattr(module, hook, hookimpl(fail, specname=hook))
    plugins = Plugins()
    plugins.register(module, "lab", "braft-lab", "1.0")
    nothing: Any = None
    extend: dict[str, Callable[[], None]] = {
        "braft_register_http": lambda: plugins.extend_http(nothing, nothing),
        "braft_register_cli": lambda: plugins.extend_cli(nothing),
    }
    with pytest.raises(
        PluginLoadError, match=rf"braft-lab 1\.0.*{hook} raised LookupError: no room"
    ):
        extend[hook]()


def test_a_trace_shows_each_call_until_it_ends() -> None:
    lines: list[str] = []
    plugins = Plugins()
    plugins.register(observer(lambda node: None), "mine")
    stop = plugins.trace(lines.append)
    plugins.notify("braft_on_started", node="some node")
    assert "braft_on_started" in "".join(lines)
    assert "some node" in "".join(lines)
    stop()
    lines.clear()
    plugins.notify("braft_on_started", node="some node")
    assert lines == []


def observer(action: Callable[[Any], object]) -> types.ModuleType:
    module = types.ModuleType("observer")

    @hookimpl
    def braft_on_started(node: Any) -> None:
        action(node)

    vars(module)["braft_on_started"] = braft_on_started
    return module
