"""Settings: names, sources, validation. One frozen :class:`Settings` per node.

Layer 4 of the house: imports only ``braft_core.errors``.
"""

from braft_core.config.durations import (
    format_duration,
    format_range,
    parse_duration,
    parse_range,
)
from braft_core.config.fields import Accepts, Variable
from braft_core.config.settings import Row, Settings
from braft_core.config.show import settings_markdown

__all__ = [
    "Accepts",
    "Row",
    "Settings",
    "Variable",
    "format_duration",
    "format_range",
    "parse_duration",
    "parse_range",
    "settings_markdown",
]
