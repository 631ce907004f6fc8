"""The files that a node trusts."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core import trusted_files
from braft_core.errors import ConfigError
from braft_core.trusted_files import MAX_BYTES, read_trusted, untrusted_reason

US, ROOT, OTHER = 1000, 0, 1001
OUR_GROUP, NAMELESS, STAFF = 1000, 7777, 20


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return a machine on which we are user 1000."""
    users = {US: "us", OTHER: "other", ROOT: "root"}
    groups = {
        OUR_GROUP: SimpleNamespace(gr_name="us", gr_mem=[]),
        STAFF: SimpleNamespace(gr_name="staff", gr_mem=[]),
    }

    class Os:
        geteuid = staticmethod(lambda: US)
        getegid = staticmethod(lambda: OUR_GROUP)
        getgroups = staticmethod(lambda: [NAMELESS, STAFF])

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

    monkeypatch.setattr(trusted_files, "os", Os())
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=users[uid]))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: groups[gid])


def found(mode: int, uid: int = US, gid: int = OUR_GROUP) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "gid"),
    [
        (0o600, US, STAFF),
        (0o644, US, STAFF),
        (0o644, ROOT, ROOT),
        (0o664, US, OUR_GROUP),
        (0o664, ROOT, NAMELESS),
        (0o2770, US, NAMELESS),
    ],
    ids=["ours", "read by all", "root's", "our own group", "a pod's", "a pod's directory"],
)
def test_trusted(mode: int, uid: int, gid: int) -> None:
    assert untrusted_reason(found(mode, uid, gid)) == ""


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "reason"),
    [
        (0o600, OTHER, OUR_GROUP, "belongs to another user (it belongs to other (uid 1001)"),
        (0o666, US, OUR_GROUP, "every user (it belongs to us (uid 1000), mode 0666)"),
        (0o1777, ROOT, ROOT, "every user"),
        (0o664, US, STAFF, "the group staff (gid 20)"),
        (0o664, ROOT, ROOT, "the group gid 0"),
        (0o664, US, 4242, "the group gid 4242"),
    ],
    ids=["another's", "all write", "sticky", "a shared group", "root's group", "not our group"],
)
def test_not_trusted(mode: int, uid: int, gid: int, reason: str) -> None:
    assert reason in untrusted_reason(found(mode, uid, gid))


def test_a_group_with_our_name_that_lists_others_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = SimpleNamespace(gr_name="us", gr_mem=["us", "other"])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: shared)
    assert "the group us" in untrusted_reason(found(0o664))


def test_a_secret_is_read_by_nobody_else() -> None:
    assert untrusted_reason(found(0o604)) == ""
    assert "read by every user" in untrusted_reason(found(0o604), secret=True)
    assert untrusted_reason(found(0o640, ROOT, NAMELESS), secret=True) == ""
    assert "written by the group" in untrusted_reason(found(0o660), secret=True)


class Disk:
    """Real files, owned by the user that runs the test."""

    @pytest.fixture(autouse=True)
    def _real(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()


class TestReading(Disk):
    def test_content(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"text")
        path.chmod(0o600)
        assert read_trusted(path, "BRAFT_X", secret=True) == b"text"
        (tmp_path / "link").symlink_to(path)
        assert read_trusted(tmp_path / "link", "BRAFT_X") == b"text"

    @pytest.mark.parametrize("mode", [0o666, 0o602])
    def test_the_error_names_file_owner_and_mode(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "f"
        path.touch()
        path.chmod(mode)
        with pytest.raises(ConfigError) as error:
            read_trusted(path, "BRAFT_X")
        assert f"BRAFT_X='{path}'" in error.value.message
        assert f"(uid {os.geteuid()}), mode {mode:04o}" in error.value.message
        assert "chmod go-w" in error.value.message

    def test_no_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(ConfigError, match="no regular file"):
                read_trusted(path, "BRAFT_X")
        with pytest.raises(ConfigError, match="No such file"):
            read_trusted(tmp_path / "gone", "BRAFT_X")

    def test_size_is_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        with path.open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=f"{MAX_BYTES + 1} bytes"):
            read_trusted(path, "BRAFT_X")
