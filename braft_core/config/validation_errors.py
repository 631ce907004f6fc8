"""What is said of values that a pydantic model does not accept: settings, options of plugins.

Owns the form of the message and of the error's data. Must not know where the values came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from braft_core.errors import ConfigError

__all__ = ["InvalidValue", "config_error", "invalid_values"]


class InvalidValue(NamedTuple):
    """One bad value: what people read, and what programs read (``ConfigError.data``)."""

    message: str
    data: dict[str, str]


def invalid_values(
    error: ValidationError, describe: Callable[[str], tuple[str, str, str]]
) -> list[InvalidValue]:
    """The values of known fields that the model refused, in the model's order.

    :param describe: by a field's name: what the user called it, the value as it may be shown, and
        what is accepted.
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
    """One error that says all of them; its data describes the first."""
    return ConfigError("\n".join(each.message for each in values), **values[0].data)
