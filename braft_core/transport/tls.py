"""The files of mutual TLS."""

from __future__ import annotations

from pathlib import Path

from braft_core.errors import ConfigError

__all__ = ["read_tls_file"]


def read_tls_file(what: str, path: Path) -> bytes:
    """The contents of the ``ca``, ``cert`` or ``key`` file.

    :raises ConfigError: naming the file that cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the TLS {what} {path}: {error.strerror}; a readable PEM file is needed",
            setting=f"tls_{what}",
            value=str(path),
        ) from error
