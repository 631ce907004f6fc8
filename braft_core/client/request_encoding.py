"""What a request carries: bodies and the parts of its path.

Pure. Refuses here, by name, what would otherwise fail in the HTTP library or arrive as something
else.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from braft_core.errors import ConfigError, InvalidRequest

__all__ = ["base_url", "body_of", "in_clear", "json_body_of", "kv_path", "segment"]

_ACCEPTED = "bytes, or what JSON has a form for: None, bool, int, finite float, str, list, dict"


def base_url(url: str) -> str:
    """Return a node's URL in full, without a slash at its end.

    :raises ConfigError: it is none, or its host name is none that can be looked up.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        parsed = httpx.URL(full)
        # As the HTTP library and the resolver do, one at each request.
        parsed.host.encode("idna")
        parsed.raw_host.decode().encode("idna")
    except (ValueError, httpx.InvalidURL):
        known = False
    if not known or parts.query or parts.fragment:
        raise ConfigError(f"URL is {url!r:.200}; accepted: http://host:port", url=url)
    return full.rstrip("/")


def in_clear(url: str) -> bool:
    """Return whether others may read what is sent to a full URL: no TLS, and not this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    return parts.scheme != "https" and not here


def body_of(value: Any) -> tuple[str, bytes]:
    """Return the media type and the body by which a value is stored.

    :raises InvalidRequest: JSON has no form for it; says why.
    """
    if isinstance(value, bytes):
        return "application/octet-stream", value
    return "application/json", json_body_of(value)


def json_body_of(value: Any) -> bytes:
    """Return ``value`` as JSON that says exactly it. :raises InvalidRequest: there is none."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except RecursionError:
        reason = "it is nested too deeply"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise InvalidRequest(
        f"{_shown(value)} has no form in JSON: {reason}; accepted: {_ACCEPTED}",
        value=_shown(value),
        accepted=_ACCEPTED,
    )


def kv_path(map_name: str, key: str | None = None) -> str:
    """Return the path of a map, or of a key in it. :raises ConfigError: no such name can be."""
    if not map_name or "/" in map_name:
        raise ConfigError(f"map is {map_name!r}; accepted: a text without '/' that is not empty")
    if key is None:
        return f"/v1/kv/{segment('map', map_name)}"
    if not key:
        raise ConfigError("key is ''; accepted: a text that is not empty")
    return f"/v1/kv/{segment('map', map_name)}/{segment('key', key)}"


def segment(what: str, text: str) -> str:
    """Escape everything, dots too where they would be taken for a relative path.

    :raises ConfigError: the text is not valid Unicode, as an argument is that was not UTF-8.
    """
    try:
        escaped = quote(text, safe="")
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what} is {text!r:.120}; accepted: text in valid UTF-8") from error
    return escaped.replace(".", "%2E") if text in (".", "..") else escaped


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - somebody's own class, or one nested too deeply to show
        return f"the {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."
