"""``braft store watch``: lines that fit, JSON, where it begins, and how it ends."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from braft_core.cli import store_watch
from braft_core.errors import Compacted
from braft_testing.processes import wait_for

#: How Python has the argument b"\xff".
RAW = "\udcff"


@pytest.fixture
def store(braft: Any, url: str) -> Any:
    """Run ``braft store``."""
    return lambda *words, **options: braft("store", *words, "--url", url, **options)


@pytest.fixture
def written(store: Any) -> None:
    """Write revisions 2 to 6."""
    store("put", "jobs/1", "new")
    store("put", "other", "x")
    store("put", "jobs/1", 'a "line"\n')
    store("put", f"jobs/{RAW}", "-", input=b"\x00\xff")
    store("del", "jobs/1")


@pytest.mark.usefixtures("written")
def test_changes_are_lines(store: Any) -> None:
    lines = [
        '2  put  jobs/1  "new"',
        '4  put  jobs/1  "a \\"line\\"\\n"',
        "5  put  b'jobs/\\xff'  <2 bytes>",
        "6  del  jobs/1",
    ]

    def watched(*words: str) -> list[str]:
        result = store("watch", *words)
        assert (result.exit_code, result.stderr) == (0, "")
        return list(result.stdout.splitlines())

    assert watched("jobs/", "--prefix", "--from", "1", "--count", "4") == lines
    assert watched("jobs/", "--prefix", "--from", "4", "--count", "3") == lines[1:]
    assert watched("jobs/1", "--from", "3", "--count", "2") == [lines[1], lines[3]]
    assert watched("jobs/", "--end", "p", "--from", "3", "--count", "1") == ['3  put  other  "x"']
    shown = watched("jobs/1", "--from", "1", "--count", "3", "--previous")
    assert shown == [lines[0], f'{lines[1]}  was "new"', f'{lines[3]}  was "a \\"line\\"\\n"']


@pytest.mark.usefixtures("written")
def test_lines_fit_a_terminal(store: Any) -> None:
    store("put", "long", "0123456789" * 20)
    result = store("watch", "long", "--from", "7", "--count", "1", env={"COLUMNS": "80"})
    [line] = result.stdout.splitlines()
    assert (len(line), line[:24], line[-1]) == (80, '7  put  long  "012345678', "…")


@pytest.mark.usefixtures("written")
def test_json_has_a_line_for_each_change(store: Any) -> None:
    words = ("jobs/", "--prefix", "--from", "4", "--count", "3", "--json")
    found = [json.loads(line) for line in store("watch", *words).stdout.splitlines()]
    assert [(each["type"], each["revision"], each["base64"]) for each in found] == [
        ("put", 4, []),
        ("put", 5, ["key", "value"]),
        ("delete", 6, []),
    ]
    assert (found[0]["key"], found[0]["value"], "previous" in found[0]) == (
        "jobs/1",
        'a "line"\n',
        False,
    )
    words = ("jobs/1", "--from", "2", "--count", "2", "--json", "--previous")
    first, second = map(json.loads, store("watch", *words).stdout.splitlines())
    assert (first["previous"], second["previous"]["value"]) == (None, "new")


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_revision_it_begins_now_and_shows_progress(
    store: Any, node: Any, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    store("put", "a", "before")
    shown: list[Any] = []
    monkeypatch.setattr(store_watch, "echo", shown.append)
    monkeypatch.setattr(store_watch, "print_json", shown.append)
    results: list[Any] = []
    words = ["watch", "a", "--count", "1", "--progress", "0.1", *(["--json"] if as_json else [])]
    thread = threading.Thread(target=lambda: results.append(store(*words)))
    thread.start()
    wait_for(lambda: shown, what="progress is shown")
    assert shown[0] == ({"type": "progress", "revision": 2} if as_json else "2\tno changes")
    node.execute("store", "put", b"a", b"after", 0, 0)
    thread.join(60)
    if as_json:
        assert shown[-1]["value"] == "after"
    else:
        assert results[0].stdout == '3  put  a  "after"\n'


def test_ctrl_c_ends_it_and_says_how_far_it_has_seen(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_watch, "_follow", interrupt)
    result = store("watch", "a")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "seen up to revision 1\n"


@pytest.mark.usefixtures("written")
def test_what_is_refused(store: Any, node: Any) -> None:
    both = store("watch", "a", "--prefix", "--end", "b")
    assert (both.exit_code, both.stderr.startswith("--prefix and --end 'b' are both")) == (2, True)
    future = store("watch", "a", "--from", "99")
    assert (future.exit_code, "revision 98 is in the future" in future.stderr) == (1, True)
    assert store("watch", "b", "--end", "a").exit_code == 2
    assert store("watch", "a", "--from", "0").exit_code == 2
    node.execute("store", "compact", 6)
    old = store("watch", "a", "--from", "2", "--json")
    assert (old.exit_code, json.loads(old.stdout)["error"]["code"]) == (1, Compacted.code)
