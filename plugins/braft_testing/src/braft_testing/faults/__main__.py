"""Entry point of ``python -m braft_testing.faults``."""

from __future__ import annotations

import sys

from braft_testing.faults.cli import main

if __name__ == "__main__":
    sys.exit(main())
