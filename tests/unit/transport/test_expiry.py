"""Until when a certificate is valid, and what is said about it."""

from __future__ import annotations

import logging
import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from braft_core.abc import TLSFiles
from braft_core.testing.certificates import Authority
from braft_core.transport import Certificates, tls
from braft_core.transport.expiry import Validity, expiry_sentence, validity

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def files(tmp_path: Path) -> TLSFiles:
    return Authority(tmp_path / "ca").issue(tmp_path / "node")


def test_the_dates_are_those_that_openssl_reads(files: TLSFiles) -> None:
    for path in (files.cert, files.ca):
        read = validity(path.read_bytes())
        assert read is not None
        command = ["openssl", "x509", "-noout", "-dates", "-in", str(path)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        expected = [
            datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
            for line in shown.splitlines()
        ]
        assert list(read) == expected


def test_dates_beyond_2049_have_four_digits(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    authority._run("x509 -in ca.pem -signkey ca.key -days 20000 -out later.pem")
    read = validity((authority.folder / "later.pem").read_bytes())
    assert read is not None
    assert read.end.year > 2075
    assert read.begin.year < 2050


def test_of_a_chain_it_is_the_first(files: TLSFiles) -> None:
    first, second = files.cert.read_bytes(), files.ca.read_bytes()
    assert validity(b"subject=/CN=node\n" + first + second) == validity(first)


def test_what_is_none_has_no_dates(files: TLSFiles) -> None:
    whole = files.cert.read_bytes()
    assert validity(b"") is None
    assert validity(whole[:-30]) is None
    draw = random.Random(1)
    for _ in range(300):
        at = draw.randrange(len(whole))
        spoilt = whole[:at] + bytes([draw.randrange(256)]) + whole[at + 1 :]
        validity(spoilt)  # whatever it is, it is no exception


@pytest.mark.parametrize(
    ("lasts", "after", "said"),
    [
        (90 * DAY, 0 * DAY, ""),
        (90 * DAY, 80 * DAY, ""),
        (90 * DAY, 82 * DAY, "expires on 2026-04-01 00:00 UTC"),
        (90 * DAY, 90 * DAY, "expired on 2026-04-01 00:00 UTC"),
        (3650 * DAY, 3630 * DAY, ""),
        (3650 * DAY, 3640 * DAY, "expires on"),
        (1 * DAY, 0.8 * DAY, ""),
        (1 * DAY, 0.95 * DAY, "expires on 2026-01-02 00:00 UTC"),
        (90 * DAY, -1 * DAY, "valid from 2026-01-01 00:00 UTC only"),
    ],
)
def test_what_is_said_of_a_certificate(lasts: timedelta, after: timedelta, said: str) -> None:
    sentence = expiry_sentence(Validity(BEGIN, BEGIN + lasts), BEGIN + after)
    assert said in sentence
    assert bool(said) == bool(sentence)


def test_an_expired_certificate_is_noted_and_logged_once(
    files: TLSFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificates = Certificates(files)
    certificates.refresh()
    assert certificates.trouble == ""

    monkeypatch.setattr(tls, "_now", lambda: datetime.now(UTC) + 3 * DAY)
    for _ in range(3):
        certificates.refresh()
    assert "certificate expired on" in certificates.trouble
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    monkeypatch.setattr(tls, "_now", lambda: datetime.now(UTC))
    certificates.refresh()
    assert certificates.trouble == ""
