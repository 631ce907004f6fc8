"""Names of DNS service discovery (RFC 6763): service type, subtypes, instance, host. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from braft_core.errors import ConfigError

__all__ = ["ServiceName", "host_name", "instance_label"]

_DOMAIN = "local."
# RFC 6335 §5.1: at most 15 letters, digits and single hyphens, a letter among them.
_LABEL = r"_(?=[A-Za-z0-9-]{1,15}(?:\.|$))(?=[0-9-]*[A-Za-z])[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_TYPE = re.compile(rf"{_LABEL}\._(?:tcp|udp)")
_SUBTYPE = re.compile(r"_?[A-Za-z0-9][A-Za-z0-9_-]{0,61}")
_ACCEPTED = "_name._tcp or _name._udp, then subtypes such as _windows after commas"


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A service type with subtypes, ``_braft._tcp,_windows``."""

    #: ``_braft._tcp``
    base: str
    #: ``("_windows",)``
    subtypes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ServiceName:
        """Parse a service name. :raises ConfigError: a part is invalid; names it."""
        base, *rest = (part.strip() for part in text.split(","))
        base = base.removesuffix(".").removesuffix(".local")
        if not _TYPE.fullmatch(base):
            raise _bad(text, base)
        subtypes = [part for part in rest if part]
        for subtype in subtypes:
            if not _SUBTYPE.fullmatch(subtype):
                raise _bad(text, subtype)
        return cls(base, tuple(dict.fromkeys(subtypes)))

    def __str__(self) -> str:
        return ",".join((self.base, *self.subtypes))

    @property
    def type(self) -> str:
        """The fully qualified type, ``_braft._tcp.local.``."""
        return f"{self.base}.{_DOMAIN}"

    @property
    def subtype_types(self) -> tuple[str, ...]:
        """The fully qualified subtypes, ``_windows._sub._braft._tcp.local.`` (RFC 6763 §7.1)."""
        return tuple(f"{subtype}._sub.{self.type}" for subtype in self.subtypes)


def instance_label(node_id: str) -> str:
    """Return the instance name of a node: the first 27 characters of its id.

    As in the Go original: 27 characters are a KSUID. Dots would separate labels, so they become
    hyphens.
    """
    return node_id[:27].replace(".", "-") or "braft"


def host_name(node_id: str) -> str:
    """Return a host name that is unique per node, so that nodes of a host share no records."""
    digest = hashlib.sha256(node_id.encode()).hexdigest()
    return f"braft-{digest[:12]}.{_DOMAIN}"


def _bad(text: str, part: str) -> ConfigError:
    return ConfigError(
        f"mdns: invalid {part!r} in the service name {text!r}; accepted: {_ACCEPTED}",
        setting="mdns_service",
        value=text,
        accepted=_ACCEPTED,
    )
