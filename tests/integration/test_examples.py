"""The examples that are whole programs run and print what the documentation shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: They use the default ports, so they must not run at the same time.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("default-ports")]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.smoke
def test_the_application_of_the_migration_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "migration" / "with_braft.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "visits of /home: 2\n", done.stderr
