"""The certificate of an HTTPS server, reloaded when its files change.

Clients need no certificate. New contents are used only if certificate and key fit together.
"""

from __future__ import annotations

import logging
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

from braft_core.errors import ConfigError
from braft_core.tls import pem_files as files

__all__ = ["ServedCertificate"]

_log = logging.getLogger(__name__)


class ServedCertificate:
    """A certificate and its key, and the context that serves them. Any thread.

    Give :attr:`context` to the server once, call :meth:`refresh` each second and on SIGHUP (see
    :class:`braft_core.runtime.periodic_checks.PeriodicChecks`), and show :attr:`trouble` among the
    node's notes::

        served = ServedCertificate(settings.tls_cert, settings.tls_key)
        config.load()  # of uvicorn, without its own options for TLS
        config.ssl = served.context

    Each handshake uses the current certificate. TLS 1.2 is the oldest version accepted.

    :param prefix: prefix of the two settings' names, for messages.
    :raises ConfigError: naming the file that cannot be read or used, and what is wrong with it.
    """

    def __init__(self, cert: Path, key: Path, prefix: str = "tls") -> None:
        self._cert, self._key, self._prefix = cert, key, prefix
        self._lock = threading.Lock()
        self._reported = False
        self._contents = self._read()
        self._current = self._load(self._contents)
        #: What is wrong with new files, which are therefore not in use.
        self.trouble = ""
        self.context = _context()
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Reload the files if they changed and fit together.

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
            if contents == self._contents:
                return ""
            current = self._load(contents)
            if self._read() != contents:
                return ""  # they are being replaced: the next look sees all of it
        except ConfigError as error:
            return f"the TLS files of HTTP have changed, and the former ones stay in use: {error}"
        self._contents, self._current = contents, current
        _log.info("the TLS files of HTTP were replaced: new connections use the new ones")
        return ""

    def _read(self) -> tuple[bytes, bytes]:
        return (
            files.read("cert", self._cert, self._prefix),
            files.read("key", self._key, self._prefix),
        )

    def _load(self, contents: tuple[bytes, bytes]) -> ssl.SSLContext:
        cert, key = contents
        chain = files.certificates_in("cert", self._cert, cert, self._prefix)
        private = files.key_in(self._key, key, self._prefix)
        files.check_key(self._cert, chain, self._key, private, self._prefix)
        files.check_dates(self._cert, chain, datetime.now(UTC), self._prefix)
        context = _context()
        try:
            context.load_cert_chain(self._cert, self._key, password="")
        except (OSError, ValueError) as error:
            sentence = f"cannot be used with the key {self._key}: {error}"
            raise files.problem("cert", self._cert, sentence, self._prefix) from error
        return context

    def _choose(
        self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        # What one context holds cannot be replaced while handshakes use it: the new certificate
        # would be there before its key. So each handshake goes on with the context of its time.
        handshake.context = self._current


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
