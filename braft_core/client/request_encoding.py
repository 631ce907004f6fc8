"""Encodes requests: URLs, path segments and bodies.

Pure. Refuses, by name, input that would fail in the HTTP library or arrive as something else.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from braft_core.errors import ConfigError, InvalidRequest

__all__ = ["base_url", "body_of", "is_unencrypted", "json_body_of", "kv_path", "segment"]

_ACCEPTED = "bytes, or a JSON value: None, bool, int, finite float, str, list, dict"


def base_url(url: str) -> str:
    """Return a node's full URL, without a trailing slash.

    :raises ConfigError: it is not an HTTP URL, or its host name is invalid.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        parsed = httpx.URL(full)
        # The HTTP library and the resolver encode it so at each request.
        parsed.host.encode("idna")
        parsed.raw_host.decode().encode("idna")
    except (ValueError, httpx.InvalidURL):
        known = False
    if not known or parts.query or parts.fragment:
        raise ConfigError(f"URL is {url!r:.200}; accepted: http://host:port", url=url)
    return full.rstrip("/")


def is_unencrypted(url: str) -> bool:
    """Return whether requests to a full URL cross the network without TLS."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    return parts.scheme != "https" and not here


def body_of(value: Any) -> tuple[str, bytes]:
    """Return media type and body of a value.

    :raises InvalidRequest: it cannot be encoded as JSON; says why.
    """
    if isinstance(value, bytes):
        return "application/octet-stream", value
    return "application/json", json_body_of(value)


def json_body_of(value: Any) -> bytes:
    """Return ``value`` as JSON, exactly.

    :raises InvalidRequest: it cannot be encoded as JSON.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except RecursionError:
        reason = "it is nested too deeply"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise InvalidRequest(
        f"{_shown(value)} cannot be encoded as JSON: {reason}; accepted: {_ACCEPTED}",
        value=_shown(value),
        accepted=_ACCEPTED,
    )


def kv_path(map_name: str, key: str | None = None) -> str:
    """Return the path of a map, or of a key in it.

    :raises ConfigError: a name is invalid.
    """
    if not map_name or "/" in map_name:
        raise ConfigError(f"map is {map_name!r}; accepted: a non-empty text without '/'")
    if key is None:
        return f"/v1/kv/{segment('map', map_name)}"
    if not key:
        raise ConfigError("key is ''; accepted: a non-empty text")
    return f"/v1/kv/{segment('map', map_name)}/{segment('key', key)}"


def segment(what: str, text: str) -> str:
    """Percent-encode a path segment, including ``.`` and ``..``.

    :raises ConfigError: the text has lone surrogates, as arguments that are not UTF-8 have.
    """
    try:
        escaped = quote(text, safe="")
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what} is {text!r:.120}; accepted: text in valid UTF-8") from error
    return escaped.replace(".", "%2E") if text in (".", "..") else escaped


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - a class's own __repr__ may raise anything
        return f"the {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."
