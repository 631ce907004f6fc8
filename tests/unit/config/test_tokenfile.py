"""``BRAFT_TOKEN_FILE``: read at the start and after changes; refused if others can read it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from braft_core.config import Settings, TokenSource
from braft_core.errors import ConfigError
from braft_core.tokens import Role

OLD, NEW = "old-old-old-old-old", "new-new-new-new-new"


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def source(path: Path) -> TokenSource:
    return TokenSource(Settings.load(environ={"BRAFT_TOKEN_FILE": str(path)}))


def test_it_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens", f"{OLD}\n")
    tokens = source(path)
    keyring = tokens.keyring
    assert keyring.current.first == OLD
    written(path, f"{NEW}\n{OLD}\n")
    tokens.refresh()
    assert keyring.current.first == NEW
    assert keyring.current.role_of(OLD.encode()) is Role.ADMIN
    assert tokens.trouble == ""


@pytest.mark.parametrize("text", ["", "short\n", "read:only-for-reading-it\n", "\xe9" * 20])
def test_what_cannot_be_used_changes_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "tokens", OLD)
    tokens = source(path)
    written(path, text)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tokens.refresh()
    assert tokens.keyring.current.first == OLD
    assert str(path) in tokens.trouble
    assert len(caplog.records) == 1
    assert not text.strip() or text.strip() not in caplog.text
    path.unlink()
    tokens.refresh()
    assert "No such file" in tokens.trouble
    written(path, NEW)
    tokens.refresh()
    assert (tokens.keyring.current.first, tokens.trouble) == (NEW, "")
    with pytest.raises(ConfigError, match=r"BRAFT_TOKEN_FILE=.*token_urlsafe"):
        source(written(path, text))


@pytest.mark.parametrize(("mode", "accepted"), [(0o640, True), (0o644, False), (0o660, False)])
def test_others_must_not_read_it(tmp_path: Path, mode: int, accepted: bool) -> None:
    path = written(tmp_path / "tokens", OLD, mode)
    if accepted:
        assert source(path).keyring.current.first == OLD
        return
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        source(path)


def test_without_a_file_the_setting_counts() -> None:
    tokens = TokenSource(Settings.load(environ={"BRAFT_TOKEN": f"read:{NEW},{OLD}"}))
    tokens.refresh()
    assert tokens.keyring.current.first == OLD
    assert not TokenSource(Settings.load(environ={})).keyring.current
