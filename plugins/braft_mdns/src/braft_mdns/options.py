"""The plugin's own section of braft.toml, ``[plugins.mdns]``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from braft_core.errors import ConfigError

__all__ = ["Options"]


class Options(BaseModel):
    """All durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Service type and subtypes; the setting ``MDNS_SERVICE``.
    service: str = "_braft._tcp,_windows"
    #: How long to wait for the records of a node before asking again.
    resolve_timeout: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    #: How long an address is believed before the node is asked for it again.
    refresh: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    #: When to say that nobody else is there.
    alone_after: float = Field(default=10.0, gt=0, allow_inf_nan=False)

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Options:
        """Validate a section. :raises ConfigError: naming ``plugins.mdns.<key>``."""
        try:
            return cls(**section)
        except ValidationError as error:
            raise _config_error(error, list(cls.model_fields)) from error


def _config_error(error: ValidationError, known: list[str]) -> ConfigError:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    path = f"plugins.mdns.{key}"
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, known, n=1)
        accepted = f"did you mean {close[0]}?" if close else f"accepted: {', '.join(known)}"
        return ConfigError(f"{path}: no such option; {accepted}", setting=path)
    return ConfigError(
        f"{path}={problem['input']!r}: {problem['msg']}",
        setting=path,
        value=repr(problem["input"]),
        accepted=problem["msg"],
    )
