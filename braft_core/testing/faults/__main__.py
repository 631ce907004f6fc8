"""``python -m braft_core.testing.faults``."""

from __future__ import annotations

import sys

from braft_core.testing.faults.cli import main

if __name__ == "__main__":
    sys.exit(main())
