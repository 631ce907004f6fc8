"""What the user says: ``namespace=..,portname=..,label=value`` and ``[plugins.k8s]``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from braft_core.errors import ConfigError
from braft_core.plugin.options import (
    Accepts,
    DurationRange,
    PluginOptions,
    PositiveDuration,
    Text,
)

__all__ = ["K8sOptions"]

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=[a-z0-9-]{1,15}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_LABEL_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_PART}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_PART})?")
_SPEC = "namespace=..,portname=..,label=value"


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


class K8sOptions(PluginOptions):
    """Durations in seconds."""

    section = "k8s"

    namespace: Annotated[str, _matching(_NAMESPACE, "a namespace"), Accepts("a namespace")] = ""
    """Namespace of the services; not set: the one this pod, or the kubeconfig's context, is in."""
    labels: Annotated[dict[str, str], BeforeValidator(_labels), Accepts("label=value,...")] = Field(
        default_factory=dict
    )
    """Labels of the services."""
    portname: Annotated[str, _matching(_PORT_NAME, "a port name"), Accepts("a port name")] = ""
    """Name of a container port that a pod must have."""
    sleep: DurationRange = (0.0, 0.0)
    """Random wait before the API is first asked."""
    poll_interval: PositiveDuration = 2.0
    """Pause between two looks while the API cannot be watched."""
    resync: PositiveDuration = 30.0
    """And while it can: in case a watch has died without a word."""
    request_timeout: PositiveDuration = 5.0
    """Longest wait for the API, to connect and for each piece of the answer."""
    kubeconfig: Text = ""
    """Use this kubeconfig file even inside a pod."""
    context: Text = ""
    """Context in the kubeconfig; not set: its current one."""
    service_account: Text = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Where a pod finds its token, CA and namespace."""

    @classmethod
    def laid_over(cls, spec: str, section: Mapping[str, Any]) -> K8sOptions:
        """Lay the spec over the section.

        Labels of the spec replace the section's, as in the original.

        :raises ConfigError: naming the part of the spec, or ``plugins.k8s.<key>``.
        """
        options = cls.read(section)
        said = _spec(spec)
        checked = cls.read(said, {key: f"k8s:{spec}: {key}" for key in said})
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
