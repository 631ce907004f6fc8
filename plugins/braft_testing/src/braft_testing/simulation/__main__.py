"""Entry point of ``python -m braft_testing.simulation``."""

from __future__ import annotations

import sys

from braft_testing.simulation.cli import main

if __name__ == "__main__":
    sys.exit(main())
