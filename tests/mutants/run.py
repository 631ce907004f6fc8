"""``python -m tests.mutants.run MUTANT [pytest arguments]``: run tests with a planted fault."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from tests.mutants import by_name
from tests.mutants.planting import plant

__all__ = ["run"]

#: Seconds for a condition that the fault may keep from ever holding.
_PATIENCE = 15.0


class _Hunt:
    """Shortens the patience of the kit, and notes whether a test has failed."""

    failed = False

    @staticmethod
    def pytest_configure() -> None:
        """Set the patience once the plugins are loaded: the kit is one of them."""
        from braft_testing import processes, transport_nodes

        processes.PATIENCE = transport_nodes.PATIENCE = _PATIENCE

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self.failed = self.failed or report.failed


def run(mutant: str, arguments: Sequence[str]) -> int:
    """Plant a fault, run pytest with it, and return its exit code. Once in a process."""
    plant(by_name(mutant).edits)
    hunt = _Hunt()
    try:
        return int(pytest.main([*arguments], plugins=[hunt]))
    except pytest.PytestUnraisableExceptionWarning:
        # A test that fails leaves files open, and Python 3.13 complains of each.
        if hunt.failed:
            return int(pytest.ExitCode.TESTS_FAILED)
        raise


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
