"""The spec ``namespace=..,portname=..,label=value`` and the options of ``[plugins.k8s]``. Pure."""

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
    """Parse ``a=b,c=d``. :raises ValueError: a part is invalid; names it."""
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise ValueError(f"{part!r} is not key=value")
        pairs.append((key, value))
    return pairs


def _labels(value: object) -> object:
    """Validate labels, a text or a table; an invalid selector would match all pods or fail."""
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
    """Options of the discovery ``k8s``; durations in seconds."""

    section = "k8s"

    namespace: Annotated[str, _matching(_NAMESPACE, "a namespace"), Accepts("a namespace")] = ""
    """Namespace of the services; default: that of this pod or of the kubeconfig's context."""
    labels: Annotated[dict[str, str], BeforeValidator(_labels), Accepts("label=value,...")] = Field(
        default_factory=dict
    )
    """Labels of the services."""
    portname: Annotated[str, _matching(_PORT_NAME, "a port name"), Accepts("a port name")] = ""
    """Name of a container port that a pod must have."""
    sleep: DurationRange = (0.0, 0.0)
    """Random wait before the first request to the API."""
    poll_interval: PositiveDuration = 2.0
    """Pause between two polls while there is no watch."""
    resync: PositiveDuration = 30.0
    """Pause between two polls while there is a watch, which may break unnoticed."""
    request_timeout: PositiveDuration = 5.0
    """Timeout to connect to the API, and for each chunk of its answer."""
    kubeconfig: Text = ""
    """Path of a kubeconfig file, which is used even inside a pod."""
    context: Text = ""
    """Context in the kubeconfig; default: its current context."""
    service_account: Text = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Directory with a pod's token, CA and namespace."""

    @classmethod
    def merged(cls, spec: str, section: Mapping[str, Any]) -> K8sOptions:
        """Return the section's options, overridden by those of the spec.

        Labels of the spec replace the section's, as in the Go original.

        :raises ConfigError: a part of the spec or ``plugins.k8s.<key>`` is invalid; names it.
        """
        options = cls.read(section)
        written = _spec(spec)
        checked = cls.read(written, {key: f"k8s:{spec}: {key}" for key in written})
        return options.model_copy(update={key: getattr(checked, key) for key in written})


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
    options: dict[str, Any] = {}
    for key, value in pairs:
        if key.lower() in ("namespace", "portname"):
            options[key.lower()] = value
        else:
            options.setdefault("labels", {})[key] = value
    return options
