"""The files of mutual TLS, and their replacement while in use."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError
from braft_core.transport import Certificates
from braft_testing.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TLSFiles:
    return authority.issue(tmp_path / "node")


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "braft_core.transport.certificates")


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{r.levelname} {r.getMessage()}"[:40] for r in caplog.records]


def test_the_same_files_stay_in_use(files: TLSFiles, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(files)
    first = certificates.current
    certificates.refresh()
    files.cert.touch()
    certificates.refresh()
    assert certificates.current is first
    assert logged(caplog) == []


def test_replaced_files_are_used(
    authority: Authority, files: TLSFiles, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(files)
    first = certificates.current
    authority.issue(files.cert.parent)
    certificates.refresh()
    assert certificates.current is not first
    assert certificates.current.pem.cert == files.cert.read_bytes() != first.pem.cert
    assert certificates.current.pem.key == files.key.read_bytes() != first.pem.key
    assert certificates.trouble == ""
    assert logged(caplog) == ["INFO the TLS files were replaced: new conne"[:40]]


def test_a_link_that_is_turned_over_is_used(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubernetes updates a secret so: the names stay, and one link in the path changes."""
    authority.issue(tmp_path / "first")
    second = authority.issue(tmp_path / "second")
    link = tmp_path / "data"
    link.symlink_to("first")
    certificates = Certificates(TLSFiles(link / "ca.pem", link / "cert.pem", link / "key.pem"))
    link.unlink()
    link.symlink_to("second")
    certificates.refresh()
    assert certificates.current.pem.cert == second.cert.read_bytes()


def test_a_pair_that_is_half_written_waits_for_its_other_half(
    authority: Authority, files: TLSFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(files)
    first = certificates.current
    new = authority.issue(tmp_path / "new")
    shutil.copyfile(new.cert, files.cert)
    certificates.refresh()
    assert certificates.current is first
    assert "the former ones stay in use" in certificates.trouble
    assert "key.pem" in certificates.trouble
    assert logged(caplog) == []  # the other half may follow
    shutil.copyfile(new.key, files.key)
    certificates.refresh()
    assert certificates.current.pem.key == new.key.read_bytes()
    assert certificates.trouble == ""
    assert [line.split()[0] for line in logged(caplog)] == ["INFO"]


@pytest.mark.parametrize("what", ["ca", "cert", "key"])
@pytest.mark.parametrize("damage", ["deleted", "empty", "cut", "garbage"])
def test_what_cannot_be_used_is_reported_once_and_not_used(
    files: TLSFiles, what: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(files)
    first = certificates.current
    path: Path = getattr(files, what)
    whole = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-40], "garbage": b"\xff" * 99}[damage])
    for _ in range(4):
        certificates.refresh()
    assert certificates.current is first
    assert path.name in certificates.trouble
    assert [line.split()[0] for line in logged(caplog)] == ["WARNING"]
    path.write_bytes(whole)
    certificates.refresh()
    assert certificates.current is first
    assert certificates.trouble == ""


def test_a_key_with_a_password_is_not_asked_for_on_the_terminal(
    files: TLSFiles, tmp_path: Path
) -> None:
    files.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n")
    with pytest.raises(ConfigError, match="a key without a password"):
        Certificates(files)


def test_files_that_change_while_they_are_read_are_read_again(
    authority: Authority, files: TLSFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braft_core.tls import material

    certificates = Certificates(files)
    first = certificates.current
    second, third = authority.issue(tmp_path / "second"), authority.issue(tmp_path / "third")

    def put(new: TLSFiles) -> None:
        for path in (new.ca, new.cert, new.key):
            shutil.copyfile(path, files.cert.parent / path.name)

    load = material.load

    def overtaken(*arguments: Any) -> object:
        put(third)
        return load(*arguments)

    monkeypatch.setattr(material, "load", overtaken)
    put(second)
    certificates.refresh()
    assert certificates.current is first
    monkeypatch.setattr(material, "load", load)
    certificates.refresh()
    assert certificates.current.pem.cert == third.cert.read_bytes()
