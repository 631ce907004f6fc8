"""docs/settings.md says what the model says."""

from __future__ import annotations

import os
from pathlib import Path

from braft_core.config import Settings, settings_markdown

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    head = text[: text.index("-->") + 3]
    page = f"{head}\n\n{settings_markdown(Settings)}"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
