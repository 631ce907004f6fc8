"""The certificates of a transport, reloaded whenever their files change.

New contents are used only if all three files fit together. Knows nothing of connections.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError

if TYPE_CHECKING:
    from braft_core.tls.material import Pem, TLSMaterial

__all__ = ["Certificates"]

_log = logging.getLogger(__name__)


class Certificates:
    """The certificates in use, and the rule that decides who is a peer. Any thread.

    :param clock: returns the current time, for validity checks.
    :raises ConfigError: naming the file that cannot be read or used, and what is wrong with it.
    """

    def __init__(self, files: TLSFiles, clock: Callable[[], datetime] | None = None) -> None:
        # The library that reads certificates is slow to import, and only needed with TLS.
        from braft_core.tls.expiry import Reminder
        from braft_core.tls.material import exposed_key
        from braft_core.tls.peer_rule import PeerRule

        self._files = files
        self._clock = clock if clock is not None else _utc_now
        self._lock = threading.Lock()
        self._reported = False
        self._reminder = Reminder()
        self._rule = PeerRule(files.peer_names, files.server_name)
        #: For the next connection, in either direction.
        self.current: TLSMaterial = self._load(self._read())
        #: What is wrong: new files that are unusable, or certificates that are about to expire.
        self.trouble = ""
        exposed = exposed_key(files)
        if exposed:
            _log.warning("%s", exposed)

    @property
    def prefer(self) -> bool:
        """Whether peers without TLS are accepted and called as well."""
        return self._files.prefer

    def server_hostname(self, host: str) -> str:
        """Return the name that the certificate of a peer at ``host`` must carry."""
        return self._files.server_name or host

    @property
    def server_name(self) -> str:
        """The name that peers' certificates carry; "": their addresses."""
        return self._files.server_name

    def peer_refusal(self, certificate: bytes) -> str:
        """Return why a certificate, DER or PEM, is not a peer's; "" if it is."""
        return self._rule.refusal(certificate)

    def refresh(self) -> None:
        """Read the files again, and use what is in them if it is new and fits together.

        A certificate and its key are replaced one after the other, so a failure is logged only if
        the next call finds it again. :attr:`trouble` has it at once.
        """
        with self._lock:
            trouble = self._look()
            if trouble is None:
                return
            lasts = bool(trouble) and trouble == self.trouble
            self._reported = self._reported and lasts
            if lasts and not self._reported:
                self._reported = True
                _log.warning("%s", trouble)
            self.trouble = trouble or self._expiry()

    def _look(self) -> str | None:
        """Return what is wrong with new files, or ``None`` while they are being replaced."""
        try:
            pem = self._read()
            if pem == self.current.pem:
                return ""
            material = self._load(pem)
            if self._read() != pem:
                return None  # still being written: the next call sees the whole
        except ConfigError as error:
            return f"the TLS files have changed, and the former ones stay in use: {error}"
        self.current = material
        _log.info("the TLS files were replaced: new connections use the new ones")
        return ""

    def _expiry(self) -> str:
        """Return a message about certificates that expire soon; log it at intervals."""
        from braft_core.tls.expiry import ExpiryStage, most_urgent

        now = self._clock()
        near, sentence = most_urgent(self.current.validities, now)
        if self._reminder.should_log(near, now):
            level = logging.WARNING if near is ExpiryStage.SOON else logging.ERROR
            _log.log(level, "%s", sentence)
        return sentence

    def _read(self) -> Pem:
        from braft_core.tls import material

        return material.read(self._files)

    def _load(self, pem: Pem) -> TLSMaterial:
        from braft_core.tls import material

        return material.load(self._files, pem, self._rule, self._clock())


def _utc_now() -> datetime:
    return datetime.now(UTC)
