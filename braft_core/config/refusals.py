"""What is said of values that a pydantic model does not accept: settings, options of plugins.

Owns the form of the sentence and of the error's data. Must not know where the values came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from braft_core.errors import ConfigError

__all__ = ["Refusal", "bad_values", "refused"]


class Refusal(NamedTuple):
    """One bad value: what people read, and what programs read (``ConfigError.data``)."""

    sentence: str
    facts: dict[str, str]


def bad_values(
    error: ValidationError, describe: Callable[[str], tuple[str, str, str]]
) -> list[Refusal]:
    """The values of known fields that the model refused, in the model's order.

    :param describe: by a field's name: what the user called it, the value as it may be shown, and
        what is accepted.
    """
    found = []
    for problem in error.errors():
        if problem["type"] != "extra_forbidden":
            name, value, accepted = describe(str(problem["loc"][0]))
            reason = str(problem.get("ctx", {}).get("error", problem["msg"]))
            facts = {"setting": name, "value": value, "accepted": accepted}
            found.append(Refusal(f"{name}={value}: {reason}; accepted: {accepted}", facts))
    return found


def refused(refusals: Sequence[Refusal]) -> ConfigError:
    """One error that says all of them; its data describes the first."""
    return ConfigError("\n".join(each.sentence for each in refusals), **refusals[0].facts)
