"""Until when a certificate is valid, and what is to be said about it. Pure.

The standard library reads dates only of certificates that a peer has shown, so the two dates are
read here from where they stand in every certificate (RFC 5280 §4.1), and nothing else is.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

__all__ = ["Validity", "expiry_sentence", "validity"]

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_VERSION, _UTC_TIME = 0xA0, 0x17
#: A certificate is to be renewed in the last tenth of its life, or so long before its end.
_LAST_PART, _LAST_DAYS = 10, timedelta(days=14)


class Validity(NamedTuple):
    """The first and the last moment."""

    begin: datetime
    end: datetime


def validity(pem: bytes) -> Validity | None:
    """Return the dates of the first certificate in a PEM file, ``None`` if they cannot be read."""
    first = pem.find(_BEGIN)
    last = pem.find(_END, first)
    if first < 0 or last < 0:
        return None
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[first : last + len(_END)].decode("ascii"))
        (_, certificate), *_ = _items(der)
        (_, signed), *_ = _items(certificate)
        # Before the dates come, but for the version, the serial number, algorithm and issuer.
        fields = [content for tag, content in _items(signed) if tag != _VERSION]
        begin, end = (_moment(tag, content) for tag, content in _items(fields[3]))
    except (ValueError, IndexError):
        return None
    return Validity(begin, end)


def expiry_sentence(valid: Validity | None, now: datetime) -> str:
    """Return what a person should know at ``now``, "" while there is time."""
    if valid is None:
        return ""
    until = f"{valid.end:%Y-%m-%d %H:%M} UTC"
    if now >= valid.end:
        return f"this node's TLS certificate expired on {until}: peers refuse new connections"
    if valid.end - now < min((valid.end - valid.begin) / _LAST_PART, _LAST_DAYS):
        return f"this node's TLS certificate expires on {until}: replace it before"
    if now < valid.begin:
        since = f"{valid.begin:%Y-%m-%d %H:%M} UTC"
        return f"this node's TLS certificate is valid from {since} only: is the clock right?"
    return ""


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element. :raises IndexError, ValueError: cut off."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("an element is cut off")
        yield tag, data[at : at + length]
        at += length


def _moment(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
