"""Format pydantic's validation errors as :class:`~braft_core.errors.ConfigError`.

Serves settings and plugin options. Must not know where the values came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from braft_core.errors import ConfigError

__all__ = ["InvalidValue", "config_error", "invalid_values"]


class InvalidValue(NamedTuple):
    """A message about one invalid value, and the same as data for ``ConfigError.data``."""

    message: str
    data: dict[str, str]


def invalid_values(
    error: ValidationError, describe: Callable[[str], tuple[str, str, str]]
) -> list[InvalidValue]:
    """Return the known fields that failed validation, in the model's order.

    :param describe: takes a field's name; returns the name that the user wrote, the value as it may
        be shown, and what is accepted.
    """
    found = []
    for problem in error.errors():
        if problem["type"] != "extra_forbidden":
            name, value, accepted = describe(str(problem["loc"][0]))
            reason = str(problem.get("ctx", {}).get("error", problem["msg"]))
            data = {"setting": name, "value": value, "accepted": accepted}
            found.append(InvalidValue(f"{name}={value}: {reason}; accepted: {accepted}", data))
    return found


def config_error(values: Sequence[InvalidValue]) -> ConfigError:
    """Return one error that lists all of them; its data describes the first."""
    return ConfigError("\n".join(each.message for each in values), **values[0].data)
