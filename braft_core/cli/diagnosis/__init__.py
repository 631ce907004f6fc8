"""What ``braft doctor`` looks for: in what a node tells (:mod:`.cluster`), and here (:mod:`.host`).

Each look gives findings; nothing here changes anything.
"""

from braft_core.cli.diagnosis.finding import Finding, Level

__all__ = ["Finding", "Level"]
