"""``python -m braft_core.testing.simulation``."""

from __future__ import annotations

import sys

from braft_core.testing.simulation.cli import main

if __name__ == "__main__":
    sys.exit(main())
