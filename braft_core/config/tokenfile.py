"""The tokens of a node: from ``BRAFT_TOKEN``, or from a file that is read again when it changes.

New contents replace the old ones only if all of them are valid. Must not know who uses a token.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from braft_core.errors import ConfigError
from braft_core.tokens import ACCEPTED, Keyring, Tokens
from braft_core.trusted_files import read_trusted

if TYPE_CHECKING:
    from braft_core.config.settings import Settings

__all__ = ["TokenSource", "read_tokens"]

_log = logging.getLogger(__name__)


class TokenSource:
    """Holds the :class:`Keyring` of the settings. Safe from any thread.

    :raises ConfigError: the file cannot be read or used; names it.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.token_file
        self._lock = threading.Lock()
        tokens = Tokens()
        if self._path is not None:
            tokens = read_tokens(self._path)
        elif settings.token is not None:
            tokens = Tokens.parse(settings.token.get_secret_value())
        self.keyring = Keyring(tokens)
        #: What is wrong with the file, if its former contents stay in use.
        self.trouble = ""

    def refresh(self) -> None:
        """Read the file, and use its tokens if they changed and are valid. May block."""
        if self._path is None:
            return
        with self._lock:
            try:
                tokens = read_tokens(self._path)
            except ConfigError as error:
                trouble = f"the former tokens stay in use: {error}"
                if trouble != self.trouble:
                    _log.warning("%s", trouble)
                self.trouble = trouble
                return
            self.trouble = ""
            if tokens != self.keyring.current:
                self.keyring.current = tokens
                _log.info("read new tokens from %s", self._path)


def read_tokens(path: Path) -> Tokens:
    """Read a token file.

    :raises ConfigError: it cannot be read, other users can read it, or it holds no valid tokens.
    """
    setting = f"BRAFT_TOKEN_FILE={path}"
    # Its group may read it: Kubernetes mounts secrets with a group.
    data = read_trusted(path, "BRAFT_TOKEN_FILE", secret=True)
    try:
        return Tokens.parse_lines(data.decode("ascii"))
    except UnicodeDecodeError:
        reason = "it has bytes that are not ASCII"
    except ValueError as error:
        reason = str(error)
    # Not chained: the message of a UnicodeDecodeError contains the secret.
    raise _refused(setting, path, reason, f"one token per line, as in BRAFT_TOKEN: {ACCEPTED}")


def _refused(setting: str, path: Path, reason: str, accepted: str) -> ConfigError:
    return ConfigError(
        f"{setting}: {reason}; accepted: {accepted}",
        setting="BRAFT_TOKEN_FILE",
        value=str(path),
        accepted=accepted,
    )
