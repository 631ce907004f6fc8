"""Protects a node from web pages: DNS rebinding and cross-site request forgery.

A page of any origin can make its reader's browser send requests to a node on loopback or in the
same network. Two rules refuse these, with or without a token:

* ``Host`` must be an IP address, ``localhost`` or a name of this node. After DNS rebinding a
  browser sends the name of the page.
* A change must not come from another origin. Browsers name the origin (``Sec-Fetch-Site``,
  ``Origin``, ``Referer``), and send a CORS preflight, which this node never grants, before anything
  but a simple ``POST``. Old browsers may send a simple ``POST`` without an origin. So a simple
  ``POST``, or one whose ``User-Agent`` is a browser and that names no origin, needs a header that a
  page cannot set without a preflight.

Pure: takes headers as ASGI passes them.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

__all__ = [
    "PROOF_HEADER",
    "SAFE_METHODS",
    "OriginPolicy",
    "Refusal",
    "accepted_host_names",
    "split_host",
]

#: Methods that change nothing.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: A header that no page can set without a CORS preflight; its value does not matter.
PROOF_HEADER: Final = "X-Requested-With"
#: ``Authorization`` counts as well: a form cannot set it either.
_PROOFS: Final = frozenset({b"authorization", PROOF_HEADER.lower().encode()})
#: Media types that a page can ``POST`` without a preflight (Fetch, "CORS-safelisted"), and those of
#: ``<a ping>`` and browser reports.
_SIMPLE: Final = frozenset(
    {
        b"application/x-www-form-urlencoded",
        b"multipart/form-data",
        b"text/plain",
        b"text/ping",
        b"application/csp-report",
        b"application/reports+json",
        b"application/expect-ct-report+json",
        b"application/xss-auditor-report",
        b"application/ocsp-request",
    }
)
#: Prefixes of the ``User-Agent`` of browsers, old and new.
_BROWSERS: Final = (b"mozilla/", b"opera/")
#: Most accepted ``Host`` headers that are cached.
_REMEMBERED: Final = 64
_PORT = re.compile(r"(?::[0-9]{0,5})?")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_SHOWN = 80


class Refusal(NamedTuple):
    """The reason for a refusal: a status, a code for programs, a sentence for people."""

    status: int
    code: str
    detail: str


class OriginPolicy:
    """The rules of one node. Thread-safe."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Create the rules.

        :param names: host names accepted in ``Host`` besides addresses and ``localhost``.
            ``.example.org`` accepts all names below it, ``*`` any.
        """
        known = {_normal(name) for name in names if name}
        self._any = "*" in known
        self._domains = tuple(name for name in known if name.startswith("."))
        self._names = known | {"localhost"}
        #: Cache of accepted ``Host`` headers, which saves parsing.
        self._accepted: set[bytes] = set()

    def refusal(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        """Return the reason to refuse a request, ``None`` if it is accepted."""
        hosts: list[bytes] = []
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name == b"host":
                hosts.append(value)
            else:
                found[name] = value
        if len(hosts) != 1:
            if hosts:
                return Refusal(400, "bad_request", "there are several Host headers; accepted: one")
        elif hosts[0] not in self._accepted:
            if not self.accepts_host(hosts[0]):
                return _foreign_host(hosts[0])
            if len(self._accepted) < _REMEMBERED:
                self._accepted.add(hosts[0])
        if method in SAFE_METHODS:
            return None
        return _cross_origin(hosts[0] if hosts else b"", found) or _simple(method, found)

    def accepts_host(self, header: bytes) -> bool:
        """Return whether a ``Host`` header names this node."""
        if self._any:
            return True
        host = split_host(header.decode("latin-1"))
        if host is None:
            return False
        return _is_address(host) or host in self._names or host.endswith(self._domains)


def accepted_host_names(*configured: str) -> list[str]:
    """Return the names of this machine, and the ``configured`` ones."""
    name = socket.gethostname()
    return [name, name.partition(".")[0], *configured]


def split_host(header: str) -> str | None:
    """Return the host in a ``Host`` header, ``None`` if the header is malformed."""
    host = header.strip()
    if host.startswith("["):
        inside, closing, rest = host[1:].partition("]")
        return inside if closing and ":" in inside and _PORT.fullmatch(rest) else None
    name, _, port = host.partition(":")
    if ":" in port or not _PORT.fullmatch(f":{port}") or not _NAME.fullmatch(name):
        return None
    return _normal(name)


def _normal(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _foreign_host(host: bytes) -> Refusal:
    return Refusal(
        421,
        "foreign_host",
        f"Host is {_shown(host)}; accepted: an IP address, localhost, this machine's name and the "
        "names in BRAFT_HTTP_HOSTS",
    )


def _cross_origin(host: bytes, headers: Mapping[bytes, bytes]) -> Refusal | None:
    """Refuse a request that a browser attributes to another origin."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site.strip().lower() not in (b"same-origin", b"none"):
        return _foreign(f"Sec-Fetch-Site is {_shown(site)}")
    origin = headers.get(b"origin")
    if origin is not None and not _same_authority(origin, host):
        return _foreign(f"Origin is {_shown(origin)}")
    referer = headers.get(b"referer")
    if origin is None and referer and not _same_authority(referer, host):
        return _foreign(f"Referer is {_shown(referer)}")
    return None


def _foreign(what: str) -> Refusal:
    return Refusal(
        403,
        "cross_origin",
        f"{what}: pages of another origin may not change anything here; accepted: requests of "
        "programs, and of pages that this node serves",
    )


def _simple(method: str, headers: Mapping[bytes, bytes]) -> Refusal | None:
    """Refuse what an old browser may have sent for a page without naming its origin."""
    if method != "POST" or not _PROOFS.isdisjoint(headers):
        return None
    agent = headers.get(b"user-agent", b"")
    silent = b"origin" not in headers and b"sec-fetch-site" not in headers
    if silent and agent.strip().lower().startswith(_BROWSERS):
        return _foreign(f"User-Agent is {_shown(agent)}, a browser, and Origin is missing")
    kind = headers.get(b"content-type")
    if kind is None:
        return None
    if b"ping-from" not in headers and kind.partition(b";")[0].strip().lower() not in _SIMPLE:
        return None
    return Refusal(
        415,
        "unsupported_media_type",
        f"Content-Type is {_shown(kind)}, which a page of another origin can send as well; "
        "accepted: application/json, application/octet-stream, no body at all, or any type beside "
        f"a header {PROOF_HEADER} or Authorization",
    )


def _same_authority(url: bytes, host: bytes) -> bool:
    scheme, found, rest = url.strip().lower().partition(b"://")
    if not found or scheme not in (b"http", b"https"):
        return False
    authority = rest.partition(b"/")[0].partition(b"?")[0].partition(b"#")[0]
    usual = b":443" if scheme == b"https" else b":80"
    return authority.removesuffix(usual) == host.strip().lower().removesuffix(usual)


def _shown(value: bytes) -> str:
    text = repr(value.decode("latin-1"))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
