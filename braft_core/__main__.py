"""``python -m braft_core`` is ``braft``."""

from __future__ import annotations

from braft_core.cli import main

if __name__ == "__main__":
    main()
