"""Check a plugin in its own tests as braft checks it when it is loaded.

::

    import braft_lab
    from braft_testing.plugins import check_plugin


    def test_braft_accepts_the_plugin() -> None:
        check_plugin(braft_lab)

The rules are those of :mod:`braft_core.plugin.validation`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from braft_core.errors import PluginError
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry
from braft_core.plugin.validation import KINDS

__all__ = ["check_plugin"]


def check_plugin(plugin: object, name: str = "plugin-under-test") -> Registry:
    """Fail if braft would reject the plugin, or a class that it provides.

    Hook names, marks and signatures are checked. The ``braft_register_<kind>`` hooks are called;
    their classes must be complete and have valid names, and every option needs a description.
    Observers, ``braft_register_http`` and ``braft_register_cli`` are not called.

    :param plugin: the module or object that the plugin's entry point names.
    :return: what the plugin provides, for further checks such as ``.get("discovery", "lab")``.
    :raises AssertionError: with every message that braft would report.
    """
    plugins = Plugins()
    problems: list[str] = []
    try:
        plugins.register(plugin, name)
    except PluginError as error:
        raise AssertionError(error.message) from error
    registry = Registry(plugins)
    questions: list[Callable[[], object]] = [
        *(partial(registry.names, kind) for kind in KINDS),
        registry.options,
    ]
    for ask in questions:
        try:
            ask()
        except PluginError as error:
            problems.append(error.message)
    if not problems:
        problems += _unexplained(registry)
    if problems:
        raise AssertionError("\n".join(problems))
    return registry


def _unexplained(registry: Registry) -> list[str]:
    return [
        f"{model.__qualname__}.{option.key} is not explained: put a text for users below it"
        for model in registry.options().values()
        for option in model.describe()
        if not option.meaning
    ]
