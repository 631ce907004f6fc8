"""``python -m tests.mutants.run MUTANT [pytest arguments]``: run tests with a planted fault."""

from __future__ import annotations

import sys

import pytest

from tests.mutants import by_name
from tests.mutants.planting import plant

#: Seconds for a condition that the fault may keep from ever holding.
_PATIENCE = 15.0


class _Impatient:
    """Shortens the patience of the kit before any test module reads it."""

    @staticmethod
    def pytest_configure() -> None:
        """Do so once the plugins are loaded: the kit is one of them."""
        from braft_testing import processes, transport_nodes

        processes.PATIENCE = transport_nodes.PATIENCE = _PATIENCE


if __name__ == "__main__":
    plant(by_name(sys.argv[1]).edits)
    sys.exit(pytest.main(sys.argv[2:], plugins=[_Impatient()]))
