"""The HTTPS certificate is replaced while a server uses it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from pathlib import Path

import pytest

from braft_core.errors import ConfigError
from braft_core.tls.issuing import Made, Names, make_authority, make_certificate
from braft_core.tls.served_certificate import ServedCertificate


@pytest.fixture
def ca(tmp_path: Path) -> Made:
    return make_authority(tmp_path / "ca", "test", 10)


def issue(ca: Made, folder: Path) -> Made:
    names = Names(ips=("127.0.0.1",))
    return make_certificate(folder, "http", ca.cert, ca.key, names, 5)


def put(new: Made, old: Made) -> None:
    shutil.copyfile(new.cert, old.cert)
    shutil.copyfile(new.key, old.key)


def shown_by(served: ServedCertificate, ca: Made) -> str:
    """Return the certificate that a client sees which trusts the CA and sends no name."""

    async def scenario() -> str:
        server = await asyncio.start_server(
            lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=served.context
        )
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=ca.cert)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert await reader.read() == b""
        writer.close()
        server.close()
        return ssl.DER_cert_to_PEM_cert(der)

    return asyncio.run(scenario())


def test_each_handshake_gets_the_certificate_of_its_time(ca: Made, tmp_path: Path) -> None:
    first, second = issue(ca, tmp_path / "a"), issue(ca, tmp_path / "b")
    served = ServedCertificate(first.cert, first.key)
    before = first.cert.read_text()
    assert shown_by(served, ca) == before
    put(second, first)
    assert shown_by(served, ca) == before  # not refreshed yet
    served.refresh()
    assert shown_by(served, ca) == second.cert.read_text() != before


def test_files_that_do_not_fit_change_nothing_and_are_reported_once(
    ca: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = issue(ca, tmp_path / "a"), issue(ca, tmp_path / "b")
    served = ServedCertificate(first.cert, first.key)
    before = first.cert.read_text()
    shutil.copyfile(second.cert, first.cert)
    for _ in range(4):
        served.refresh()
    assert "does not belong to the certificate" in served.trouble
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert shown_by(served, ca) == before
    shutil.copyfile(second.key, first.key)
    served.refresh()
    assert served.trouble == ""
    assert shown_by(served, ca) == second.cert.read_text()


def test_a_setting_of_its_own_is_the_one_that_is_named(ca: Made, tmp_path: Path) -> None:
    made = issue(ca, tmp_path / "a")
    with pytest.raises(ConfigError) as caught:
        ServedCertificate(made.key, made.cert, prefix="http_tls")
    assert caught.value.data["setting"] == "http_tls_cert"
    assert "swapped" in caught.value.message


def test_replaced_files_are_loaded_once(
    ca: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = issue(ca, tmp_path / "a"), issue(ca, tmp_path / "b")
    served = ServedCertificate(first.cert, first.key)
    put(second, first)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            served.refresh()
    assert sum("were replaced" in record.message for record in caplog.records) == 1
    assert served.trouble == ""
