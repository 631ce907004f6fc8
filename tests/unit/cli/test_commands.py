"""The request, output and exit code of each command."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from braft_core import errors
from braft_core.cli import kv as cli_kv

IDS = ["server-1", "server-2"]

SESAME = "sesame-sesame-sesame"


def test_kv_round_trip(braft: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    assert braft("kv", "put", "m", "k", "blue", *at).stdout == "stored at revision 1\n"
    assert braft("kv", "get", "m", "k", *at).stdout == "blue\n"
    assert braft("kv", "put", "m", "n", '{"a": 1}', "--parse", *at).exit_code == 0
    assert node.maps["m"]["n"][0] == {"a": 1}
    assert json.loads(braft("kv", "get", "m", "n", *at).stdout) == {"a": 1}
    assert braft("kv", "list", "m", *at).stdout == 'k\t"blue"\nn\t{"a": 1}\n'
    assert braft("kv", "list", *at).stdout == "m\n"
    assert braft("kv", "del", "m", "k", *at).stdout == "deleted\n"
    assert braft("kv", "del", "m", "k", *at).stdout == "there was no such key\n"


def test_kv_bytes_pass_unchanged(braft: Any, node: Any, url: str) -> None:
    raw = b"\x00\xff\n"
    assert braft("kv", "put", "m", "k", "-", "--url", url, input=raw).exit_code == 0
    assert node.maps["m"]["k"][0] == raw
    assert braft("kv", "get", "m", "k", "--url", url).stdout_bytes == raw
    assert braft("kv", "list", "m", "--url", url).stdout == "k\t<3 bytes>\n"


def test_kv_null_empty_and_missing_differ(braft_json: Any, braft: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    assert braft("kv", "put", "m", "null", "null", "--parse", *at).exit_code == 0
    assert braft("kv", "put", "m", "text", "", *at).exit_code == 0
    assert braft("kv", "put", "m", "stdin", "-", *at, input=b"").exit_code == 0
    node._kv_put("m", "bytes", b"")
    stored = {key: value for key, (value, _) in node.maps["m"].items()}
    assert stored == {"null": None, "text": "", "stdin": "", "bytes": b""}
    assert braft("kv", "get", "m", "null", *at).stdout == "null\n"
    got = braft_json("kv", "get", "m", "null", *at)
    assert (got["found"], got["value"]) == (True, None)
    assert braft("kv", "get", "m", "text", *at).stdout == "\n"
    assert braft("kv", "get", "m", "bytes", *at).stdout == ""
    assert braft("kv", "get", "m", "missing", *at).exit_code == 1


def test_kv_numbers_that_json_lacks(braft_json: Any, braft: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    for text in ("NaN", "[1, Infinity]", "1e999", '{"a": 1, "a": 2}', "[" * 100_000):
        refused = braft("kv", "put", "m", "k", text, "--parse", *at)
        assert (refused.exit_code, node.maps) == (2, {}), refused.output
        assert "VALUE is not JSON" in refused.stderr
    node._kv_put("m", "k", [math.nan])
    assert braft_json("kv", "get", "m", "k", *at)["value"] == ["NaN"]
    assert braft_json("kv", "list", "m", *at)["items"] == {"k": ["NaN"]}
    assert braft("kv", "list", "m", *at).stdout == 'k\t["NaN"]\n'


def test_kv_json(braft_json: Any, braft: Any, url: str) -> None:
    at = ("--url", url)
    assert braft_json("kv", "put", "m", "k", "v", *at) == {"map": "m", "key": "k", "revision": 1}
    got = {"map": "m", "key": "k", "found": True, "value": "v", "base64": False, "revision": 1}
    assert braft_json("kv", "get", "m", "k", *at) == got
    assert braft_json("kv", "list", "m", *at) == {"map": "m", "items": {"k": "v"}, "base64": []}
    assert braft_json("kv", "list", *at) == {"maps": ["m"]}
    assert braft_json("kv", "del", "m", "k", *at) == {"map": "m", "key": "k", "deleted": True}
    missing = braft("kv", "get", "m", "k", "--json", *at)
    assert missing.exit_code == 1
    assert json.loads(missing.stdout) == {"map": "m", "key": "k", "found": False}


def test_kv_json_tells_bytes_from_text(braft_json: Any, node: Any, url: str) -> None:
    node._kv_put("m", "bytes", b"hello")
    node._kv_put("m", "text", "aGVsbG8=")
    got = [braft_json("kv", "get", "m", key, "--url", url) for key in ("bytes", "text")]
    assert [(one["value"], one["base64"]) for one in got] == [
        ("aGVsbG8=", True),
        ("aGVsbG8=", False),
    ]
    listed = braft_json("kv", "list", "m", "--url", url)
    assert listed["items"] == {"bytes": "aGVsbG8=", "text": "aGVsbG8="}
    assert listed["base64"] == ["bytes"]


def test_kv_conditions_and_staleness(braft: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    assert braft("kv", "put", "m", "k", "a", "--if-revision", "0", *at).exit_code == 0
    refused = braft("kv", "put", "m", "k", "b", "--if-revision", "7", *at)
    assert refused.exit_code == 1
    assert "expected revision 7, is 1" in refused.stderr
    braft("kv", "get", "m", "k", "--stale", *at)
    assert node.calls[-1][5] == "stale"


def test_members_are_listed_with_what_is_decided_about_the_silent(
    braft_json: Any, braft: Any, node: Any, url: str
) -> None:
    node.autopilot = {
        "mode": "dry-run",
        "verdict": "silent",
        "reason": "server-2 has been silent for 12 s; it is dead after 60 s",
        "silent": {"server-2": 12.0},
        "removed": [{"id": "x", "address": "h:1", "reason": "x is dead"}],
    }
    assert braft_json("members", "list", "--url", url)["autopilot"] == node.autopilot
    lines = braft("members", "list", "--url", url).stdout.splitlines()
    assert lines[2].split()[:4] == ["127.0.0.1:16000", "Voter", "silent", "12"]
    assert lines[3] == f"autopilot (dry run: nothing is done): {node.autopilot['reason']}"
    assert lines[4] == "removed as dead, may return: h:1 (x is dead)"


def test_members(braft_json: Any, braft: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    assert braft_json("members", "list", *at) == {"members": node.rows}
    lines = braft("members", "list", *at).stdout.splitlines()
    assert lines[0].split() == ["ADDRESS", "SUFFRAGE", "ROLE", "ID"]
    assert lines[1].split() == ["127.0.0.1:15000", "Voter", "leader", "server-1"]
    added = braft_json("members", "add", "server-3", "h:17000", "--nonvoter", *at)["members"]
    assert added[2] == {"id": "server-3", "address": "h:17000", "suffrage": "Nonvoter"} | {
        "leader": False
    }
    assert braft_json("members", "promote", "h:17000", *at)["members"][2]["suffrage"] == "Voter"
    assert [m["id"] for m in braft_json("members", "remove", "server-3", *at)["members"]] == IDS
    unknown = braft("members", "remove", "nobody", *at)
    assert unknown.exit_code == 2
    assert "127.0.0.1:16000" in unknown.stderr


def test_leader(braft_json: Any, braft: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    first = {"id": "server-1", "address": "127.0.0.1:15000"}
    second = {"id": "server-2", "address": "127.0.0.1:16000"}
    assert braft_json("leader", "show", *at) == first
    assert braft_json("leader", "transfer", *at) == second
    assert node.calls[-1][:2] == ("transfer_leadership", "")
    assert braft_json("leader", "transfer", "127.0.0.1:15000", *at) == first
    assert braft("leader", "show", *at).stdout == "127.0.0.1:15000  server-1\n"
    node.leader = None
    assert braft("leader", "show", *at).exit_code == 1


def test_status(braft_json: Any, braft: Any, node: Any, url: str) -> None:
    assert braft_json("status", "--url", url) == node.cluster_view()
    shown = braft("status", "--url", url).stdout
    assert shown.startswith("leader 127.0.0.1:15000   nodes 1\ndiscovery static://\nADDRESS")
    watched = braft(
        "status", "--watch", "--count", "3", "--interval", "0.05", "--json", "--url", url
    )
    assert [json.loads(line)["nodeNum"] for line in watched.stdout.splitlines()] == [1, 1, 1]


def test_status_without_a_leader_ends_with_exit_code_1(braft: Any, node: Any, url: str) -> None:
    view = node.cluster_view() | {"leaderAddr": "", "leaderID": ""}
    node.cluster_view = lambda timeout=None: view
    shown = braft("status", "--url", url)
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (1, "leader none known   nodes 1")
    as_json = braft("status", "--json", "--url", url)
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, view)


def test_status_shows_what_is_wrong(braft: Any, node: Any, url: str) -> None:
    view = node.cluster_view()
    view["waiting"] = "no leader for 4 s: …"
    view["nodes"][0]["notes"] = {"token": "calls between members are refused: …"}
    node.cluster_view = lambda timeout=None: view
    shown = braft("status", "--url", url).stdout.splitlines()
    assert "not served: no leader for 4 s: …" in shown
    address = view["nodes"][0]["address"]
    assert f"token, says {address}: calls between members are refused: …" in shown


def test_plugins_and_config(braft_json: Any, braft: Any, monkeypatch: Any) -> None:
    answer = braft_json("plugins")
    assert ("kv", "service") in [(row["name"], row["kind"]) for row in answer["plugins"]]
    assert set(answer) == {"plugins", "disabled", "failures", "cautions"}
    used = {(row["kind"], row["name"]) for row in answer["plugins"] if row["in_use"]}
    assert {("service", "kv"), ("storage", "sqlite"), ("transport", "grpc")} <= used
    assert not {("storage", "memory"), ("transport", "memory")} & used
    monkeypatch.setenv("BRAFT_DATA_DIR", ":memory:")
    used = {(row["kind"], row["name"]) for row in braft_json("plugins")["plugins"] if row["in_use"]}
    assert ("storage", "memory") in used
    assert ("storage", "sqlite") not in used
    assert "msgpack" in braft("plugins").stdout
    settings = {row["name"]: row for row in braft_json("config")["settings"]}
    assert settings["rport"]["origin"] == "default"
    assert set(settings["rport"]) == {"name", "value", "origin"}


def test_a_wrong_setting_is_wrong_usage(braft: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("BRAFT_RPORT", "many")
    for words in (["config"], ["run"], [], ["--hport", "1"]):
        result = braft(*words)
        assert result.exit_code == 2
        assert "BRAFT_RPORT" in result.stderr


@pytest.mark.parametrize("words", [["run", "--rport", "x"], ["--rport", "x"]])
def test_options_without_a_command_are_those_of_run(braft: Any, words: list[str]) -> None:
    result = braft(*words)
    assert result.exit_code == 2
    assert "rport" in result.stderr


COMMANDS = [
    ["status"],
    ["kv", "get", "m", "k"],
    ["kv", "put", "m", "k", "v"],
    ["kv", "del", "m", "k"],
    ["kv", "list"],
    ["kv", "list", "m"],
    ["members", "add", "x", "h:1"],
    ["members", "remove", "server-2"],
    ["members", "promote", "server-2"],
    ["leader", "transfer"],
]
#: Answered from the node's memory without the cluster, so they always succeed.
READS = [["leader", "show"], ["members", "list"]]


@pytest.mark.parametrize("words", [*COMMANDS, *READS], ids=" ".join)
def test_exit_code_3_nobody_answered(braft: Any, dead_url: str, words: list[str]) -> None:
    result = braft(*words, "--url", dead_url)
    assert result.exit_code == 3
    assert dead_url in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_exit_code_1_the_cluster_said_no(braft: Any, node: Any, url: str, words: list[str]) -> None:
    node.fails = errors.NoLeader("2 of 3 are missing")
    result = braft(*words, "--url", url, "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["message"]) == ("no_leader", "2 of 3 are missing")


@pytest.mark.parametrize(
    "words",
    [
        ["kv"],
        ["kv", "get", "m"],
        ["kv", "nope"],
        ["nope"],
        ["status", "--timeout", "0"],
        ["status", "--url", "ftp://x"],
        ["kv", "get", "a/b", "k"],
        ["kv", "put", "m", "k", "{", "--parse"],
        ["members", "add", "x", "no-port"],
    ],
    ids=" ".join,
)
def test_exit_code_2_wrong_usage(braft: Any, url: str, words: list[str]) -> None:
    at = [] if "--url" in words or len(words) < 2 or words[1] == "nope" else ["--url", url]
    assert braft(*words, *at).exit_code == 2


def test_a_write_of_unknown_fate_ends_as_nobody_answered(braft: Any, node: Any, url: str) -> None:
    node.fails = errors.OutcomeUnknown("no commit in time")
    result = braft("kv", "put", "m", "k", "v", "--url", url)
    assert result.exit_code == 3
    assert "no commit in time" in result.stderr


def test_nodes_come_from_options_then_braft_url_then_the_settings(
    braft: Any, monkeypatch: Any, node: Any, url: str, dead_url: str
) -> None:
    assert braft("status", "--url", dead_url, "--url", url).exit_code == 0
    monkeypatch.setenv("BRAFT_URL", f"{dead_url},{url}")
    assert braft("status").exit_code == 0
    assert braft("status", "--url", dead_url).exit_code == 3
    monkeypatch.delenv("BRAFT_URL")
    port = int(url.rpartition(":")[2])
    for variable, value in (("BRAFT_HPORT", port), ("BRAFT_DPORT", port - 1), ("BRP", port - 2)):
        monkeypatch.setenv(variable, str(value))
        assert braft("status").exit_code == 0
        monkeypatch.delenv(variable)
    Path("braft.toml").write_text(f'hport = {port}\ntoken = "{SESAME}"\n')
    assert braft("status").exit_code == 0


def test_token_and_timeout_reach_the_node(braft: Any, node: Any, monkeypatch: Any) -> None:
    node.settings.token = SecretStr(SESAME)
    from braft_core.http import HTTPServer

    server = HTTPServer(node, "127.0.0.1", 0)
    server.start()
    try:
        at = ("--url", f"http://127.0.0.1:{server.port}")
        assert braft("kv", "list", *at).exit_code == 1
        assert braft("kv", "list", "--token", "wrong", *at).exit_code == 1
        assert node.calls == []
        assert braft("kv", "list", "--token", SESAME, "--timeout", "42.5", *at).exit_code == 0
        assert node.calls[-1][-1] == 42.5
        monkeypatch.setenv("BRAFT_TOKEN", SESAME)
        assert braft("kv", "list", *at).exit_code == 0
    finally:
        server.stop()


def test_plugins_add_commands_and_cannot_replace_ours(braft: Any, monkeypatch: Any) -> None:
    import typer

    from braft_core.cli import extensions
    from braft_core.plugin.manager import Plugins

    def extend(self: Plugins, app: typer.Typer) -> None:
        @app.command("lab")
        def lab(name: str) -> None:
            typer.echo(f"hello {name}")

        nested = typer.Typer()
        nested.command("deep")(lambda: typer.echo("deep"))
        nested.callback()(lambda: None)
        app.add_typer(nested, name="more")

    extensions._load.cache_clear()
    monkeypatch.setattr(Plugins, "extend_cli", extend)
    try:
        assert braft("lab", "you").stdout == "hello you\n"
        assert braft("more", "deep").stdout == "deep\n"
        assert "lab" in braft("--help").stdout
        with pytest.raises(errors.PluginConflict, match="'lab'"):
            extensions.plugin_commands(taken=["lab"])
    finally:
        extensions._load.cache_clear()


def test_a_plugin_adds_to_the_store_but_replaces_nothing(
    braft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from braft_core.cli import extensions
    from braft_core.plugin.manager import Plugins

    name = "lab"

    def extend(self: Plugins, app: typer.Typer) -> None:
        store = typer.Typer()
        store.command(name)(lambda: typer.echo("added"))
        app.add_typer(store, name="store")

    extensions._load.cache_clear()
    monkeypatch.setattr(Plugins, "extend_cli", extend)
    try:
        assert braft("store", "lab").stdout == "added\n"
        shown = braft("store", "--help").stdout
        assert ("lab" in shown, "txn" in shown) == (True, True)
        name = "txn"
        extensions._load.cache_clear()
        with pytest.raises(errors.PluginConflict, match="'store txn', which is braft's own"):
            extensions.added_commands("store", taken=["txn"])
    finally:
        extensions._load.cache_clear()


def test_the_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, braft_core.cli.app as a\n"
        "heavy = {'httpx', 'falcon', 'grpc', 'pydantic', 'rich.markdown', 'uvicorn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    root = str(Path(__file__).parents[3])
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert run.stdout == "[]\n"


@pytest.mark.slow
def test_help_answers_at_once() -> None:
    """It costs little more processor time than any such command line."""
    root = str(Path(__file__).parents[3])
    whole = min(_processor_seconds(root, "-m", "braft_core", "--help") for _ in range(3))
    least = min(_processor_seconds(root, "-c", "import typer.rich_utils") for _ in range(3))
    assert whole < 5 * least  # usually 2.9 times


def _processor_seconds(root: str, *arguments: str) -> float:
    """Return the processor time of an interpreter with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=root)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_kv_list_in_pages(braft: Any, braft_json: Any, node: Any, url: str) -> None:
    at = ("--url", url)
    for key in ("b", "a", "it's", "c"):
        node._kv_put("m", key, 1)
    first = braft("kv", "list", "m", "--limit", "3", *at)
    assert first.stdout == "a\t1\nb\t1\nc\t1\n"
    assert first.stderr == "there are more: --after c\n"
    rest = braft("kv", "list", "m", "--after", "c", *at)
    assert (rest.stdout, rest.stderr) == ("it's\t1\n", "")
    listed = {"map": "m", "items": {"a": 1, "b": 1}, "base64": [], "next": "b"}
    assert braft_json("kv", "list", "m", "--limit", "2", *at) == listed
    rest_listed = {"map": "m", "items": {"c": 1, "it's": 1}, "base64": []}
    assert braft_json("kv", "list", "m", "--limit", "2", "--after", "b", *at) == rest_listed


def test_kv_list_reads_all_pages(
    braft: Any, braft_json: Any, node: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_kv, "PAGE_SIZE", 2)
    for number in range(5):
        node._kv_put("m", f"k{number}", number)
    lines = "".join(f"k{number}\t{number}\n" for number in range(5))
    assert braft("kv", "list", "m", "--url", url).stdout == lines
    listed = braft_json("kv", "list", "m", "--url", url)
    assert listed["items"] == {f"k{number}": number for number in range(5)}
    assert braft("kv", "list", "m", "--limit", "4", "--url", url).stdout == lines[: 4 * 5]
    assert len([call for call in node.calls if call[:3] == ("query", "kv", "page")]) == 3 + 3 + 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("m", "--limit", "0"), "limit"),
        (("m", "--limit", "100001"), "100000"),
        (("--limit", "5"), "name a MAP"),
        (("--after", "k"), "name a MAP"),
    ],
)
def test_kv_list_refuses_what_is_no_page(braft: Any, url: str, words: Any, reason: str) -> None:
    result = braft("kv", "list", *words, "--url", url)
    assert result.exit_code == 2
    assert reason in result.stderr
