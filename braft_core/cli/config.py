"""``braft config``: the effective settings and where each came from."""

from __future__ import annotations

from braft_core.cli.options import AsJson
from braft_core.cli.output import emit, reports_errors, table

__all__ = ["config"]


@reports_errors
def config(as_json: AsJson = False) -> None:
    """Show the settings that a node started here would have.

    Exit code 2 if one is wrong. JSON: settings, a list of name, value, origin.
    """
    from braft_core.config import Settings

    rows = Settings.load().rows()
    listed = [row._asdict() for row in rows]
    emit(as_json, {"settings": listed}, lambda: table(["NAME", "VALUE", "FROM"], rows))
