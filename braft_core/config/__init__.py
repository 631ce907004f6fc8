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
from braft_core.config.options import given_options
from braft_core.config.settings import Row, Settings
from braft_core.config.show import settings_markdown
from braft_core.config.sources import Given, unknown_variable
from braft_core.config.tokenfile import TokenSource

__all__ = [
    "Accepts",
    "Given",
    "Row",
    "Settings",
    "TokenSource",
    "Variable",
    "format_duration",
    "format_range",
    "given_options",
    "parse_duration",
    "parse_range",
    "settings_markdown",
    "unknown_variable",
]
