"""Settings of all tests: a clean environment, reproducible examples, quick tests first."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A slow or busy machine must not fail a property; the time limit of pytest still holds.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# CI repeats the same examples on every run: a change is judged by itself, not by luck.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

_LAST = ("integration", "faults")

#: Every environment variable that braft reads, long and short (see the table of settings).
_PREFIXES = ("BRAFT_", "K8S_", "MDNS_")
_SHORT = frozenset(
    "BDI BIP BIF BRP BDP BHP BSL BDD BEX BSR MDS K8N K8L K8P DGR DISABLE_GRPC_REFLECTION".split()
)


def pytest_configure() -> None:
    """Let the processes that tests start see the same surroundings, wherever the tests run.

    Python's readline, which pytest imports, sets the size of the terminal behind the back of
    ``os.environ``; it decides where lines are wrapped. A shell starts its background jobs with
    SIGINT ignored, and so would every process of theirs.
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
        os.unsetenv(name)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort quick tests first: a broken unit is reported before processes that use it start."""
    items.sort(key=lambda item: any(item.get_closest_marker(name) for name in _LAST))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove braft's environment variables, so that the developer's shell has no influence."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) or name in _SHORT:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1 and its key with the openssl program."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.fixture(scope="session")
def sentences() -> dict[str, re.Pattern[str]]:
    """Return the reasons that docs/operations.md lists, as they are written there and as patterns.

    An ellipsis matches any text that is not empty, and a number matches any number.
    """
    text = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
    chapter = text.partition("### Why is there no leader")[2].partition("## Members that die")[0]
    cells = [line.split("|") for line in chapter.splitlines() if line.startswith("| `")]
    # The table of notes has the subject first.
    shown = [cell[2] if len(cell) > 5 else cell[1] for cell in cells]
    patterns = {}
    for template in re.findall("`([^`]+)`", " ".join(shown)):
        escaped = re.escape(template).replace("…", ".+")
        patterns[template] = re.compile(re.sub(r"\d+", r"\\d+", escaped))
    return patterns


@pytest.fixture(scope="session")
def documented(sentences: dict[str, re.Pattern[str]]) -> Callable[[str], list[str]]:
    """Return ``rows(sentence)``: the rows of docs/operations.md that match a sentence."""
    return lambda sentence: [row for row, pattern in sentences.items() if pattern.search(sentence)]
