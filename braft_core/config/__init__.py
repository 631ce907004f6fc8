"""Settings: names, sources, validation. One frozen :class:`Settings` per node."""

from braft_core.config.durations import (
    format_duration,
    format_range,
    parse_duration,
    parse_range,
)
from braft_core.config.fields import Accepts, Variable
from braft_core.config.markdown import settings_markdown
from braft_core.config.plugin_options import sourced_options
from braft_core.config.settings import Row, Settings
from braft_core.config.sources import SourcedValue, unknown_variable_message
from braft_core.config.tokenfile import TokenSource

__all__ = [
    "Accepts",
    "Row",
    "Settings",
    "SourcedValue",
    "TokenSource",
    "Variable",
    "format_duration",
    "format_range",
    "parse_duration",
    "parse_range",
    "settings_markdown",
    "sourced_options",
    "unknown_variable_message",
]
