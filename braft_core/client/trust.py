"""TLS settings of a client: the CAs it trusts, and its own certificate."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from braft_core.errors import ConfigError

__all__ = ["Trust", "is_address"]


class Trust(NamedTuple):
    """The TLS files of a client.

    :param ca: certificates of the trusted CAs; ``None``: those of the system.
    :param cert: the client's certificate, for servers that require one.
    :param key: its private key.
    :param server_name: the name in the nodes' certificates, for URLs with an IP address;
        ``None``: the address.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of connections.

        :raises ConfigError: a file cannot be used; names it and says why.
        """
        from braft_core.tls import pem_files as files

        if (self.cert is None) is not (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ConfigError(
                f"a client's {given} without its {missing}; accepted: both or neither",
                setting=missing,
            )
        if self.ca is not None:
            files.certificates_in("ca", self.ca, files.read("ca", self.ca))
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert is not None and self.key is not None:
            chain = files.certificates_in("cert", self.cert, files.read("cert", self.cert))
            private = files.key_in(self.key, files.read("key", self.key))
            files.check_key(self.cert, chain, self.key, private, "tls")
            try:
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as error:
                sentence = f"cannot be used with the key {self.key}: {error}"
                raise files.problem("cert", self.cert, sentence) from error
        return context


def is_address(host: str) -> bool:
    """Return whether a URL's host is an IP address, which few certificates contain."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
