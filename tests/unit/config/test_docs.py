"""docs/settings.md agrees with the model and with the command line."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

from braft_core.cli.run import run
from braft_core.config import Settings, settings_markdown

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_page_is_up_to_date() -> None:
    text = _page()
    head = text[: text.index("-->") + 3]
    page = f"{head}\n\n{settings_markdown(Settings)}"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")
    assert _page() == page


def test_page_lists_the_options_of_braft_run() -> None:
    (sentence,) = re.findall(r"`braft run` has options for these settings: (.*?)\.", _page(), re.S)
    listed = re.findall(r"`--([a-z-]+)`", sentence)
    options = [name.replace("_", "-") for name in inspect.signature(run).parameters]
    assert sorted(listed) == sorted(options)
    assert {name.replace("-", "_") for name in listed} <= set(Settings.variables())


def _page() -> str:
    return PAGE.read_text(encoding="utf-8")
