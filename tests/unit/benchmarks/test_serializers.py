"""The benchmark of serializers measures every command with every serializer."""

from __future__ import annotations

import pytest

from benchmarks import serializers


def test_every_pair_is_measured() -> None:
    rows = serializers.measure(rounds=1, seconds=0.0001)
    pairs = [(row.command, row.serializer) for row in rows]
    assert len(set(pairs)) == len(pairs) == 12
    assert all(row.size > 30 and row.encode > 0 and row.decode > 0 for row in rows)
    assert next(row.size for row in rows if row.serializer == "msgpack") == 35


def test_the_table_is_markdown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = serializers.Row("put", "json", 46, 4.51, 3.34)
    monkeypatch.setattr(serializers, "measure", lambda: [row])
    serializers.main([])
    assert capsys.readouterr().out.splitlines()[-1] == "| put | json | 46 | 4.5 | 3.3 |"
