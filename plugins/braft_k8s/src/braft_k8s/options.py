"""What the user says: ``namespace=..,portname=..,label=value`` and ``[plugins.k8s]``. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from braft_core.errors import ConfigError

__all__ = ["Options"]

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=[a-z0-9-]{1,15}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_LABEL_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_PART}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_PART})?")
_VARIABLES = {
    "namespace": "K8S_NAMESPACE",
    "labels": "K8S_LABELS",
    "portname": "K8S_PORTNAME",
    "sleep": "K8S_SLEEP",
}
_SPEC = "namespace=..,portname=..,label=value"
_POSITIVE = Field(gt=0, allow_inf_nan=False)


def _pairs(text: str) -> list[tuple[str, str]]:
    """``a=b,c=d`` as pairs. :raises ValueError: naming the part that is none."""
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise ValueError(f"{part!r} is not key=value")
        pairs.append((key, value))
    return pairs


def _labels(value: object) -> object:
    """Labels as text or as a table; checked, because a bad selector selects everything or fails."""
    labels = dict(_pairs(value)) if isinstance(value, str) else value
    if not isinstance(labels, Mapping):
        return value
    for key, text in labels.items():
        if not _LABEL_KEY.fullmatch(str(key)):
            raise ValueError(f"{key!r} is not a label name")
        if not _LABEL_VALUE.fullmatch(str(text)):
            raise ValueError(f"{text!r} is not a label value")
    return labels


def _matching(pattern: re.Pattern[str], what: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, str) and value and not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return BeforeValidator(check)


def _range(value: object) -> object:
    ends = value if isinstance(value, list | tuple) else (value, value)
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(ends) != 2 or len(numbers) != 2 or not 0 <= numbers[0] <= numbers[1] < float("inf"):
        raise ValueError("neither a number of seconds nor two in rising order")
    return tuple(ends)


class Options(BaseModel):
    """The plugin's options. All durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: "" is the namespace this pod, or the kubeconfig's context, is in.
    namespace: Annotated[str, _matching(_NAMESPACE, "a namespace")] = ""
    #: Labels of the services.
    labels: Annotated[dict[str, str], BeforeValidator(_labels)] = Field(default_factory=dict)
    #: Name of a container port that a pod must have.
    portname: Annotated[str, _matching(_PORT_NAME, "a port name")] = ""
    #: Random wait before the API is first asked.
    sleep: Annotated[tuple[float, float], BeforeValidator(_range)] = (0.0, 0.0)
    #: Pause between two looks while the API cannot be watched.
    poll_interval: Annotated[float, _POSITIVE] = 2.0
    #: And while it can: in case a watch has died without a word.
    resync: Annotated[float, _POSITIVE] = 30.0
    #: Longest wait for the API, to connect and for each piece of the answer.
    request_timeout: Annotated[float, _POSITIVE] = 5.0
    #: Use this kubeconfig file even inside a pod.
    kubeconfig: str = ""
    #: Context in the kubeconfig; "" is its current one.
    context: str = ""
    #: Where a pod finds its token, CA and namespace.
    service_account: str = "/var/run/secrets/kubernetes.io/serviceaccount"

    @classmethod
    def read(cls, spec: str, section: Mapping[str, Any]) -> Options:
        """Lay the spec over the section.

        Labels of the spec replace the section's, as in the original.

        :raises ConfigError: naming the part of the spec, or ``plugins.k8s.<key>``.
        """
        options = _validated(cls, section, "plugins.k8s.")
        said = _spec(spec)
        checked = _validated(cls, said, f"k8s:{spec}: ")
        return options.model_copy(update={key: getattr(checked, key) for key in said})


def _spec(spec: str) -> dict[str, Any]:
    try:
        pairs = _pairs(spec)
    except ValueError as error:
        raise ConfigError(
            f"k8s:{spec}: {error}; accepted: {_SPEC}",
            setting="discovery",
            value=spec,
            accepted=_SPEC,
        ) from error
    said: dict[str, Any] = {}
    for key, value in pairs:
        if key.lower() in ("namespace", "portname"):
            said[key.lower()] = value
        else:
            said.setdefault("labels", {})[key] = value
    return said


def _validated(cls: type[Options], values: Mapping[str, Any], prefix: str) -> Options:
    try:
        return cls(**values)
    except ValidationError as error:
        raise _config_error(error, prefix, list(cls.model_fields)) from error


def _config_error(error: ValidationError, prefix: str, known: list[str]) -> ConfigError:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    path = prefix + key
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, known, n=1)
        accepted = f"did you mean {close[0]}?" if close else f"accepted: {', '.join(known)}"
        return ConfigError(f"{path}: no such option; {accepted}", setting=path)
    variable = f" (or {_VARIABLES[key]})" if key in _VARIABLES else ""
    reason = str(problem.get("ctx", {}).get("error", problem["msg"]))
    return ConfigError(
        f"{path}{variable}={problem['input']!r}: {reason}",
        setting=path,
        value=repr(problem["input"]),
        accepted=reason,
    )
