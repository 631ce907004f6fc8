"""The certificate that clients are shown and the CAs of theirs, reloaded when the files change.

New contents are used only if certificate and key fit together and all files can be read. Then new
connections use them, on both servers; those that are open stay.
"""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path
from typing import Final, NamedTuple

from braft_core.errors import ConfigError
from braft_core.http2 import server_context
from braft_etcd.options import EtcdOptions

__all__ = ["Certificates", "Served", "certificates_of"]

_log = logging.getLogger(__name__)

#: A chain of certificates and a list of CAs are smaller.
_MAX_FILE: Final = 4 << 20


class Served(NamedTuple):
    """What handshakes use. Contents and context belong together."""

    cert: bytes
    key: bytes
    #: ``None``: clients need no certificate.
    client_ca: bytes | None
    context: ssl.SSLContext


class Certificates:
    """Files and what is in use of them. Any thread.

    :raises ConfigError: a file cannot be read or used, and why.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._lock = threading.Lock()
        self._reported = False
        #: What is wrong with new files, which are therefore not in use.
        self.trouble = ""
        #: For the next handshake.
        self.current = self._load(self._read())

    def refresh(self) -> None:
        """Reload the files if they changed and fit together. May block.

        A failure is logged only if the next call finds it again: the certificate and its key are
        replaced one after the other.
        """
        with self._lock:
            trouble = self._look()
            lasts, self.trouble = trouble == self.trouble, trouble
            self._reported = self._reported and lasts
            if trouble and lasts and not self._reported:
                self._reported = True
                _log.warning("%s", trouble)

    def _look(self) -> str:
        try:
            contents = self._read()
            if contents == self.current[:3]:
                return ""
            served = self._load(contents)
            if self._read() != contents:
                return ""  # they are being replaced: the next look sees all of it
        except ConfigError as error:
            return (
                "the TLS files of the etcd API have changed, and the former ones stay in use: "
                f"{error.message}"
            )
        self.current = served
        _log.info("the TLS files of the etcd API were replaced: new connections use the new ones")
        return ""

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        ca = None if self._client_ca is None else _read(self._client_ca)
        return _read(self._cert), _read(self._key), ca

    def _load(self, contents: tuple[bytes, bytes, bytes | None]) -> Served:
        return Served(*contents, server_context(self._cert, self._key, self._client_ca))


def certificates_of(options: EtcdOptions) -> Certificates | None:
    """Return the certificates of the options, ``None`` without TLS.

    :raises ConfigError: the options do not fit together, or a file cannot be used.
    """
    cert, key, ca = options.tls_cert, options.tls_key, options.client_ca
    if bool(cert) != bool(key) or (ca and not cert):
        raise ConfigError(
            "BRAFT_ETCD_TLS_CERT and BRAFT_ETCD_TLS_KEY are set together, and "
            "BRAFT_ETCD_CLIENT_CA only with them",
            setting="BRAFT_ETCD_TLS_CERT",
        )
    return Certificates(cert, key, ca) if cert and key else None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{path} has more than {_MAX_FILE} bytes, the most of a PEM file")
    return data
