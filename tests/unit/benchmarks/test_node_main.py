"""What a node under load answers to the benchmark."""

from __future__ import annotations

import threading
from typing import Any

import pytest

node_main: Any = pytest.importorskip(
    "benchmarks.node_main", reason="not installed, only in the tree"
)


def test_a_thread_that_has_not_started_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """``threading.enumerate`` returns it, without the id by which processor time is found."""
    waits = threading.Thread(name="waits")
    main = threading.main_thread()
    monkeypatch.setattr(threading, "enumerate", lambda: [main, waits])
    assert waits.native_id is None
    assert node_main.Handlers.threads(None) == {str(main.native_id): main.name}
