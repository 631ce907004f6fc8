"""Validate plugins: functions that list what is wrong with a plugin.

pluggy ignores misspelt hooks, does not await coroutines and does not fill parameters that have
defaults. This module detects each of these before pluggy sees the plugin, and names the hook. Pure:
it loads, registers and calls nothing.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from braft_core.abc import Discovery, Serializer, Service, Storage, Transport
from braft_core.plugin import HOOKS_VERSION, NAME, specs

__all__ = [
    "HOOKS",
    "KINDS",
    "class_problems",
    "hook_problems",
    "hooks_of",
    "options_problems",
    "signature",
]

#: The base class of each kind that is chosen by name.
KINDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "discovery": Discovery,
        "serializer": Serializer,
        "service": Service,
        "transport": Transport,
        "storage": Storage,
    }
)

_PREFIX: Final = f"{NAME}_"
_MARK: Final = f"{NAME}_impl"
_NEEDS: Final = "BRAFT_HOOKS"
_NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9_.+-]*")
_WRAPPED_FUNCTIONS: Final = (staticmethod, classmethod, types.MethodType)

#: Every hook's parameter names, in order, by hook name.
HOOKS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(specs).items()
        if name.startswith(_PREFIX)
    }
)


def signature(hook: str) -> str:
    """Return the hook with its parameters: ``braft_on_leader_changed(node, leader, term)``."""
    return f"{hook}({', '.join(HOOKS[hook])})"


def hook_problems(plugin: object) -> list[str]:
    """Return a message for each mistake in the hooks of a plugin, a module or an instance.

    If the list is empty, braft calls each of its hooks as the author intends.
    """
    if inspect.isclass(plugin):
        return [f"it is the class {plugin.__qualname__}; give a module or an instance"]
    if problems := _version_problems(plugin):
        return problems  # other mistakes may be correct in the version that it needs
    found = dict(_candidates(plugin))
    if not found:
        return [f"it implements no hook: nothing in it is named {_PREFIX}*"]
    return [text for name, value in found.items() for text in _one_hook(plugin, name, value)]


def hooks_of(plugin: object) -> list[str]:
    """Return the sorted names of the hooks that a valid plugin implements."""
    found = _candidates(plugin)
    return sorted((_options(value) or {}).get("specname") or name for name, value in found)


def class_problems(kind: str, provided: object) -> list[str]:
    """Return the reasons why ``provided`` cannot be used as a class of that kind."""
    base = KINDS[kind]
    if not (inspect.isclass(provided) and issubclass(provided, base)):
        return [f"{provided!r} is not a subclass of braft_core.abc.{base.__name__}"]
    who = provided.__qualname__
    problems = []
    if missing := sorted(getattr(provided, "__abstractmethods__", ())):
        problems.append(f"{who} does not implement {', '.join(missing)}")
    name = getattr(provided, "name", None)
    if not (isinstance(name, str) and _NAME_PATTERN.fullmatch(name)):
        problems.append(
            f"{who}.name is {name!r}; accepted: a lower-case word such as 'lab' or 'lab-2'"
        )
    if kind == "serializer":
        problems += _tag_problems(who, getattr(provided, "tag", None))
    return problems


def options_problems(provided: object) -> list[str]:
    """Return the reasons why ``provided`` cannot be used as the options of a plugin."""
    from braft_core.config import Settings  # here, because pydantic is slow to import
    from braft_core.plugin.options import PluginOptions

    if not (inspect.isclass(provided) and issubclass(provided, PluginOptions)):
        return [f"{provided!r} is not a subclass of braft_core.plugin.options.PluginOptions"]
    who = provided.__qualname__
    section = getattr(provided, "section", None)
    if not (isinstance(section, str) and _NAME_PATTERN.fullmatch(section)):
        return [f"{who}.section is {section!r}; accepted: a lower-case word such as 'lab'"]
    problems = [
        f"{who}.{key} has no default; it needs one, because installed plugins may be unused"
        for key, info in provided.model_fields.items()
        if info.is_required()
    ]
    taken = {variable.long for variable in Settings.variables().values()}
    for key, variable in provided.variables().items():
        if variable in taken:
            problems.append(f"{who}.{key} has the variable {variable}, which is taken already")
        taken.add(variable)
    return problems


def _version_problems(plugin: object) -> list[str]:
    needed = inspect.getattr_static(plugin, _NEEDS, 1)
    if not isinstance(needed, int) or isinstance(needed, bool) or needed < 1:
        return [f"{_NEEDS} is {needed!r}; accepted: a whole number from 1 to {HOOKS_VERSION}"]
    if needed > HOOKS_VERSION:
        return [
            f"it needs version {needed} of braft's hooks, but this braft-core has version "
            f"{HOOKS_VERSION}; upgrade braft-core, or install an older version of the plugin"
        ]
    return []


def _tag_problems(who: str, tag: object) -> list[str]:
    if isinstance(tag, int) and not isinstance(tag, bool) and 1 <= tag <= 255:
        return []
    return [f"{who}.tag is {tag!r}; accepted: a whole number from 1 to 255"]


def _candidates(plugin: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes that are hooks by name or by marker, without running properties."""
    for name in dir(plugin):
        value = inspect.getattr_static(plugin, name)
        if name.startswith(_PREFIX) or _options(value) is not None:
            yield name, value


def _options(value: object) -> Mapping[str, Any] | None:
    """Return the attributes that ``@hookimpl`` set on a function, ``None`` if it is not marked."""
    for holder in (value, getattr(value, "__func__", None)):
        options = getattr(holder, "__dict__", {}).get(_MARK)
        if isinstance(options, dict):
            return options
    return None


def _one_hook(plugin: object, attribute: str, value: object) -> list[str]:
    options = _options(value) or {}
    hook = options.get("specname") or attribute
    if hook not in HOOKS:
        return [f"there is no hook {hook}{_suggestion(hook)}"]
    if not (inspect.isfunction(value) or isinstance(value, _WRAPPED_FUNCTIONS)):
        return [f"{hook} must be a function, not {value!r}"]
    if not options:
        return [f"{hook} has no @hookimpl, so it would never be called"]
    if options.get("wrapper") or options.get("hookwrapper"):
        return [f"{hook} is a hook wrapper; braft does not support wrappers"]
    return _calling_problems(hook, getattr(plugin, attribute))


def _calling_problems(hook: str, function: Callable[..., object]) -> list[str]:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return [f"{hook} is async; write a plain function, and do async work in your classes"]
    if inspect.isgeneratorfunction(function):
        return [f"{hook} is a generator, so its body would never run"]
    parameters = inspect.signature(function).parameters.values()
    return [text for parameter in parameters for text in _parameter_problem(hook, parameter)]


def _parameter_problem(hook: str, parameter: inspect.Parameter) -> list[str]:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
        return [f"{hook} takes {parameter}, which braft never passes: {signature(hook)}"]
    if parameter.name not in HOOKS[hook]:
        return [f"{hook} takes {parameter.name!r}, which the hook does not have: {signature(hook)}"]
    if parameter.default is not parameter.empty:
        return [f"{hook} gives {parameter.name!r} a default, so pluggy would never pass a value"]
    return []


def _suggestion(hook: str) -> str:
    close = difflib.get_close_matches(hook, HOOKS, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; names that begin with {_PREFIX} are reserved for: {', '.join(HOOKS)}"
