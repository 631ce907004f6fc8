"""Reading the setting ``discovery``: which scheme, and what is said to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

__all__ = ["split_discovery"]

#: Schemes of the project's own plugins: meant even where the plugin is missing, so that the
#: answer is how to install it and not a search for a host called "mdns".
_OWN_SCHEMES = ("k8s", "mdns", "static")


def split_discovery(text: str, schemes: Collection[str]) -> tuple[str, str]:
    """Split ``scheme:spec``; a bare address list is ``static``.

    ``host:15000`` is an address although it looks like a scheme: what follows the colon decides,
    unless the part before it is a known scheme.

    :param schemes: the schemes that are installed.
    :returns: scheme and spec; the scheme may be one that is not installed.
    """
    text = text.strip()
    scheme, colon, spec = text.partition(":")
    if scheme in schemes or scheme in _OWN_SCHEMES:
        return scheme, spec.strip()
    no_scheme = not colon or not scheme or "," in scheme or text.startswith("[")
    if no_scheme or _starts_with_port(spec) or _is_ipv6(text.split(",")[0]):
        return "static", text
    return scheme, spec.strip()


def _starts_with_port(spec: str) -> bool:
    return spec.split(",")[0].strip().isdecimal()


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text.strip())
    except ValueError:
        return False
    return True
