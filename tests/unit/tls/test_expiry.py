"""The expiry of certificates, and the warnings about it."""

from __future__ import annotations

import logging
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from braft_core.abc import TLSFiles
from braft_core.tls.expiry import OWN, ExpiryStage, Reminder, Validity, expiry_message, most_urgent
from braft_core.transport import Certificates
from braft_testing.certificates import Authority

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def files(tmp_path: Path) -> TLSFiles:
    return Authority(tmp_path / "ca").issue(tmp_path / "node")


def test_the_dates_are_those_that_openssl_reads(files: TLSFiles) -> None:
    shown = dict(Certificates(files).current.validities)
    assert set(shown) == {OWN, f"the CA's certificate in {files.ca}"}
    for read, path in zip(shown.values(), (files.cert, files.ca), strict=True):
        command = ["openssl", "x509", "-noout", "-dates", "-in", str(path)]
        dates = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        expected = [
            datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
            for line in dates.splitlines()
        ]
        assert list(read) == expected


def test_of_several_cas_the_one_that_lasts_longest_counts(files: TLSFiles) -> None:
    longer = Path(files.ca).parent / "longer.pem"
    ca = files.ca.parent.parent / "ca"
    command = "openssl x509 -in ca.pem -signkey ca.key -days 20000 -out".split()
    subprocess.run([*command, str(longer)], cwd=ca, check=True, capture_output=True)
    files.ca.write_bytes(files.ca.read_bytes() + longer.read_bytes())
    (_, _), (whose, valid) = Certificates(files).current.validities
    assert whose == f"the CA's certificate in {files.ca}"
    assert valid.end.year > 2075


@pytest.mark.parametrize(
    ("lasts", "after", "said"),
    [
        (90 * DAY, 0 * DAY, ""),
        (90 * DAY, 67 * DAY, ""),
        (90 * DAY, 68 * DAY, "expires on 2026-04-01 00:00 UTC, in 22 days"),
        (365 * DAY, 335 * DAY, ""),
        (365 * DAY, 336 * DAY, "expires on 2027-01-01 00:00 UTC, in 29 days"),
        (90 * DAY, 90 * DAY, "expired on 2026-04-01 00:00 UTC"),
        (3650 * DAY, 3620 * DAY, ""),
        (3650 * DAY, 3621 * DAY, "expires on"),
        (1 * DAY, 0.7 * DAY, ""),
        (1 * DAY, 0.95 * DAY, "expires on 2026-01-02 00:00 UTC, in 1 hours"),
        (90 * DAY, -1 * DAY, "valid from 2026-01-01 00:00 UTC only"),
    ],
)
def test_what_is_said_of_a_certificate(lasts: timedelta, after: timedelta, said: str) -> None:
    sentence = expiry_message(Validity(BEGIN, BEGIN + lasts), BEGIN + after)
    assert said in sentence
    assert bool(said) == bool(sentence)


def test_what_is_said_of_the_worst_of_several() -> None:
    def ends(days: float) -> Validity:
        return Validity(BEGIN - 400 * DAY, BEGIN + days * DAY)

    rows = [("a", ends(20)), ("b", ends(5)), ("c", ends(100))]
    near, sentence = most_urgent(rows, BEGIN)
    assert near is ExpiryStage.URGENT
    assert sentence.startswith("b expires on 2026-01-06 00:00 UTC, in 5 days")
    assert most_urgent([("a", ends(-2)), ("b", ends(-3))], BEGIN)[1].startswith("b expired on")
    assert most_urgent([("c", ends(100))], BEGIN) == most_urgent([], BEGIN) == (ExpiryStage.FAR, "")


@pytest.mark.parametrize(
    ("near", "pause"),
    [(ExpiryStage.SOON, DAY), (ExpiryStage.URGENT, DAY), (ExpiryStage.OVER, DAY / 24)],
)
def test_the_log_is_reminded_now_and_then(near: ExpiryStage, pause: timedelta) -> None:
    reminder = Reminder()
    assert reminder.should_log(near, BEGIN)
    assert not reminder.should_log(near, BEGIN + 0.99 * pause)
    assert reminder.should_log(near, BEGIN + pause)
    assert not reminder.should_log(near, BEGIN + pause)
    assert reminder.should_log(near, BEGIN)  # the clock was set back
    other = ExpiryStage.OVER if near is not ExpiryStage.OVER else ExpiryStage.URGENT
    assert reminder.should_log(other, BEGIN)  # it got worse
    assert not reminder.should_log(ExpiryStage.FAR, BEGIN)  # it was renewed
    assert reminder.should_log(other, BEGIN)


def test_what_expires_is_noted_and_logged_once_a_day(
    files: TLSFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = start = datetime.now(UTC)
    certificates = Certificates(files, lambda: now)
    certificates.refresh()
    assert certificates.trouble == ""

    def at(days: float) -> list[str]:
        """Refresh three times at that time, and return the levels of the log lines."""
        nonlocal now
        caplog.clear()
        now = start + days * DAY
        for _ in range(3):
            certificates.refresh()
        return [record.levelname for record in caplog.records]

    assert at(1.6) == ["WARNING"]
    assert "expires on" in certificates.trouble
    assert at(1.61) == []
    assert at(1.9) == ["ERROR"]
    assert at(3) == ["ERROR"]
    assert "expired on" in certificates.trouble
    assert at(3.01) == []
    assert at(3.05) == ["ERROR"]
    assert at(0) == []
    assert certificates.trouble == ""


def test_an_expiring_ca_is_named(files: TLSFiles) -> None:
    ca = files.ca.parent.parent / "ca"
    command = "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -days 400".split()
    command += ["-extfile", "san.cnf", "-out", str(files.cert)]
    subprocess.run(command, cwd=ca, check=True, capture_output=True)
    certificates = Certificates(files, lambda: datetime.now(UTC) + 1.6 * DAY)
    certificates.refresh()
    assert certificates.trouble.startswith(f"the CA's certificate in {files.ca} expires on")
