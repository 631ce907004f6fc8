"""The checks of ``braft doctor``: of the cluster (:mod:`.cluster`) and this machine (:mod:`.host`).

Each check returns findings and changes nothing.
"""

from braft_core.cli.diagnosis.finding import Finding, Level

__all__ = ["Finding", "Level"]
