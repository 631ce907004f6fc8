"""The files of mutual TLS, read when a transport starts and again whenever they change.

Certificates expire and are replaced in time by others, under the same names. Owns when new contents
are used: only if all three files fit together. Knows nothing of connections.
"""

from __future__ import annotations

import logging
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError
from braft_core.transport.expiry import expiry_sentence, validity

__all__ = ["Certificates", "Pem", "TLSMaterial"]

_log = logging.getLogger(__name__)


class Pem(NamedTuple):
    """What is in the three files."""

    ca: bytes
    cert: bytes
    key: bytes


class TLSMaterial(NamedTuple):
    """Contents that fit together, and contexts made of them. Identity says whether it is new."""

    pem: Pem
    client: ssl.SSLContext
    server: ssl.SSLContext


class Certificates:
    """The material in use. Any thread.

    :raises ConfigError: naming the file that cannot be read or used.
    """

    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._reported = False
        #: For the next connection, in either direction.
        self.current = TLSMaterial(_read(files), *_contexts(files))
        #: What is wrong with the files: not usable, and so not in use, or about to expire.
        self.trouble = ""

    def refresh(self) -> None:
        """Look at the files, and use what is in them if it is new and fits together.

        A certificate and its key are replaced one after the other, so a failure is logged only if
        it is still there at the next look. It stands in :attr:`trouble` at once.
        """
        with self._lock:
            trouble = self._look()
            if trouble is None:
                return
            lasts, self.trouble = trouble == self.trouble, trouble
            self._reported = self._reported and lasts
            if trouble and lasts and not self._reported:
                self._reported = True
                _log.warning("%s", trouble)

    def _look(self) -> str | None:
        """Return the trouble with the files, or ``None`` while they are being replaced."""
        try:
            pem = _read(self._files)
            if pem == self.current.pem:
                return expiry_sentence(validity(pem.cert), _now())
            contexts = _contexts(self._files)
            if _read(self._files) != pem:
                return None  # the next look sees all of it
        except ConfigError as error:
            return f"the TLS files have changed, and the former ones stay in use: {error}"
        self.current = TLSMaterial(pem, *contexts)
        _log.info("the TLS files were replaced: new connections use the new ones")
        return expiry_sentence(validity(pem.cert), _now())


def _now() -> datetime:
    return datetime.now(UTC)


def _read(files: TLSFiles) -> Pem:
    return Pem(
        _read_file("ca", files.ca), _read_file("cert", files.cert), _read_file("key", files.key)
    )


def _read_file(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the TLS {what} {path}: {error.strerror}; a readable PEM file is needed",
            setting=f"tls_{what}",
            value=str(path),
        ) from error


def _contexts(files: TLSFiles) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    client = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    client.check_hostname = True
    return client, _context(ssl.PROTOCOL_TLS_SERVER, files)


def _context(protocol: int, files: TLSFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca)
        # An empty password instead of a question on the terminal of a server.
        context.load_cert_chain(files.cert, files.key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the TLS files {files.ca}, {files.cert} and {files.key} cannot be used: {error}; "
            "PEM files are needed, and a key without a password that belongs to the certificate",
            setting="tls_key",
            value=str(files.key),
        ) from error
    return context
