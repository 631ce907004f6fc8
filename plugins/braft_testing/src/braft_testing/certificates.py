"""Create certificates for tests of TLS transports with the ``openssl`` program.

Two certification authorities and their renewals are all that such a test needs::

    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    files = old.issue(tmp_path / "node")    # and later, under the same names:
    new.issue(tmp_path / "node")
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from braft_core.abc import TLSFiles

__all__ = ["Authority"]

_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


class Authority:
    """A certification authority in ``folder``. The test is skipped if openssl is missing."""

    def __init__(self, folder: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("the openssl program is not installed")
        self._openssl = openssl
        self.folder = folder
        folder.mkdir(parents=True)
        self._run(f"req -x509 {_KEY} -subj /CN=ca-{folder.name} -days 2 -keyout ca.key -out ca.pem")

    def issue(self, folder: Path, names: Sequence[str] = ("IP:127.0.0.1",)) -> TLSFiles:
        """Write ``ca.pem``, ``cert.pem`` and ``key.pem`` into ``folder``, replacing existing files.

        :param names: whom the certificate is for, as ``IP:address`` or ``DNS:name``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "san.cnf").write_text(f"subjectAltName={','.join(names)}\n")
        self._run(f"req {_KEY} -subj /CN=node -keyout key.pem -out request.pem")
        self._run(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
            "-extfile san.cnf -out cert.pem"
        )
        files = TLSFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
        for path in (files.ca, files.cert, files.key):
            shutil.copyfile(self.folder / path.name, path)
        files.key.chmod(0o600)
        return files

    def _run(self, command: str) -> None:
        run = [self._openssl, *command.split()]
        subprocess.run(run, cwd=self.folder, check=True, capture_output=True)  # noqa: S603
