"""Which requests a browser may have been made to send, and which names this node answers to.

A page of any origin may make the reader's browser send requests to a node on loopback or in the
same network. Two rules keep such pages out, with or without a token:

* ``Host`` must be an address, ``localhost`` or a name of this node. A page whose name was made to
  resolve to this node (DNS rebinding) sends its own name.
* What changes something must not come from another origin. Browsers say where a request comes from
  (``Sec-Fetch-Site``, ``Origin``, ``Referer``), and ask first (CORS preflight, which this node
  never grants) before they send anything but a simple ``POST``. Old browsers may send a simple
  ``POST`` and name no origin; so what they can send without asking, and what calls itself a browser
  and names no origin, is refused unless a header is there that a page cannot set without asking.

Pure: knows headers as ASGI hands them out, and neither sockets nor the application.
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
#: A header that no page can set without asking first; its value does not matter.
PROOF_HEADER: Final = "X-Requested-With"
#: Beside it, the header of a token: a form cannot carry one either.
_PROOFS: Final = frozenset({b"authorization", PROOF_HEADER.lower().encode()})
#: What a page may ``POST`` anywhere without asking first (Fetch, "CORS-safelisted"), and what
#: ``<a ping>`` and reports of browsers send.
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
#: How the ``User-Agent`` of every browser begins, old and new.
_BROWSERS: Final = (b"mozilla/", b"opera/")
#: How many ``Host`` headers are remembered as accepted.
_REMEMBERED: Final = 64
_PORT = re.compile(r"(?::[0-9]{0,5})?")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_SHOWN = 80


class Refusal(NamedTuple):
    """Why a request is refused: status, a code for programs, a sentence for people."""

    status: int
    code: str
    detail: str


class OriginPolicy:
    """The rules for one node. Immutable; any thread."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """:param names: host names accepted in ``Host`` beside addresses and ``localhost``.
        ``.example.org`` accepts all names below it, ``*`` any.
        """
        known = {_normal(name) for name in names if name}
        self._any = "*" in known
        self._domains = tuple(name for name in known if name.startswith("."))
        self._names = known | {"localhost"}
        #: ``Host`` headers of late, so that the usual ones are not taken apart each time.
        self._accepted: set[bytes] = set()

    def refusal(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        """Return why the request is refused, ``None`` if it is not."""
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
    """Return the names that this machine goes by, and those that are ``configured``."""
    name = socket.gethostname()
    return [name, name.partition(".")[0], *configured]


def split_host(header: str) -> str | None:
    """Return the host of a ``Host`` header or an origin's authority, ``None`` if it has none."""
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
    """Refuse what a browser says comes from somewhere else."""
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
    """Refuse what an old browser may have sent without saying where it comes from."""
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
