"""The process ``braft`` in unusual environments: encodings, closed streams, early signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from braft_core.client import Client
from braft_core.local_nodes import free_ports
from braft_testing.processes import wait_for

ROOT = str(Path(__file__).parents[3])
BRAFT = [sys.executable, "-m", "braft_core"]
NOT_UTF8 = b"gr\xfcn"
#: The same as Python passes it to programs.
HIDDEN = "gr\udcfcn"


def _run(*words: str | bytes, **environ: str | bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*BRAFT, *words], cwd=ROOT, env=_environ(environ), capture_output=True, timeout=120
    )


def _environ(more: dict[str, str | bytes]) -> dict[bytes, bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("BRAFT_")}
    given = {**own, **more}
    return {os.fsencode(name): os.fsencode(value) for name, value in given.items()}


def _in_shell(script: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``script``, in which ``"$@"`` stands for braft with these words."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *BRAFT, *words],
        cwd=ROOT,
        env=_environ({}),
        capture_output=True,
        timeout=120,
    )


# -- encodings -----------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict", "latin-1:strict"])
def test_help_is_shown_on_a_terminal_that_lacks_a_character(encoding: str) -> None:
    done = _run("run", "--help", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mdns, static:a,b,c, k8s, " in done.stdout


@pytest.mark.integration
def test_a_value_comes_out_whole_whatever_the_terminal_s_encoding(node: Any, url: str) -> None:
    value = "grün 緑"
    node._kv_put("m", "k", value)
    get = ("kv", "get", "m", "k", "--url", url)
    assert _run(*get, PYTHONIOENCODING="latin-1").stdout == f"{value}\n".encode()
    as_json = _run(*get, "--json", PYTHONIOENCODING="latin-1").stdout
    assert as_json.isascii()
    assert json.loads(as_json)["value"] == value
    listed = _run("kv", "list", "m", "--url", url, PYTHONIOENCODING="latin-1")
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert listed.stdout == 'k\t"grün \\u7dd1"\n'.encode("latin-1")


@pytest.mark.parametrize(
    "words",
    [
        ["kv", "get", "m", HIDDEN],
        ["kv", "put", HIDDEN, "k", "v"],
        ["kv", "put", "m", "k", HIDDEN],
        ["kv", "put", "m", "k", HIDDEN, "--parse"],
        ["members", "remove", HIDDEN],
        ["snapshot", "save", "x.snap", "--url", f"http://{HIDDEN}"],
        ["run", "--cluster-name", HIDDEN],
        ["run", "--ip", HIDDEN],
        ["run", "--discovery", HIDDEN],
        ["run", "--discovery", f"static:{HIDDEN}"],
        ["run", "--discovery", f"mdns:{HIDDEN}"],
        ["run", "--discovery", f"k8s:namespace={HIDDEN}"],
        [HIDDEN],
    ],
    ids=ascii,
)
def test_an_argument_that_is_no_text_is_refused_by_name(
    braft: Any, node: Any, url: str, words: list[str]
) -> None:
    environ = {"BRAFT_URL": url, "BRAFT_DATA_DIR": ":memory:", "BRAFT_RPORT": "0"}
    done = braft(*words, env=environ)
    assert (done.exit_code, node.maps) == (2, {}), done.output
    assert r"\udcfc" in done.stderr


@pytest.mark.parametrize("name", ["BRAFT_URL", "BRAFT_TOKEN", "BRAFT_DISCOVERY", "MDNS_SERVICE"])
def test_a_variable_that_is_no_text_is_refused_by_name(braft: Any, name: str) -> None:
    command = ["status"] if name in ("BRAFT_URL", "BRAFT_TOKEN") else ["run"]
    environ = {"BRAFT_DISCOVERY": "mdns", "BRAFT_DATA_DIR": ":memory:", "BRAFT_RPORT": "0"}
    done = braft(*command, env=environ | {name: HIDDEN})
    assert done.exit_code == 2, done.output
    assert r"\udcfc" in done.stderr or name == "BRAFT_TOKEN"


@pytest.mark.integration
def test_a_real_argument_that_is_no_text_is_refused(url: str) -> None:
    done = _run("kv", "get", "m", NOT_UTF8, "--url", url)
    said = rb"key is 'gr\udcfcn'; accepted: text in valid UTF-8"
    assert (done.returncode, done.stderr.strip()) == (2, said)


@pytest.mark.integration
def test_a_folder_whose_name_is_no_text_is_as_good_as_another(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/" + NOT_UTF8
    os.mkdir(folder)
    Path(os.fsdecode(folder), "braft.toml").write_text("rport = 0\n")
    shown = _run("config", "--json", BRAFT_CONFIG=folder + b"/braft.toml", BRAFT_DATA_DIR=folder)
    assert shown.returncode == 0, shown.stderr.decode()
    rows = {row["name"]: row for row in json.loads(shown.stdout)["settings"]}
    assert rows["data_dir"]["value"].endswith(r"gr\udcfcn")


# -- streams -------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_closed_standard_output_is_no_reason_to_fail() -> None:
    done = _in_shell('"$@" >&-', "config")
    assert (done.returncode, done.stderr) == (0, b"")
    done = _in_shell('"$@" 2>&-', "run", "--ip", "nonsense")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.integration
def test_a_closed_standard_input_is_no_empty_value(node: Any, url: str) -> None:
    done = _in_shell('"$@" <&-', "kv", "put", "m", "k", "-", "--url", url)
    assert (done.returncode, node.maps) == (2, {})
    assert b"standard input cannot be read" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("words", [["config"], ["--help"]])
def test_an_output_that_takes_nothing_is_reported(words: list[str]) -> None:
    done = _in_shell('"$@" >/dev/full', *words)
    said = b"the answer cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.integration
def test_a_node_runs_without_standard_streams(tmp_path: Path) -> None:
    ports = free_ports(3)
    alone = "--ip 127.0.0.1 --rport {} --dport {} --hport {} --expect 1 --discovery none".format(
        *ports
    )
    words = ["run", *alone.split(), "--data-dir", str(tmp_path)]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *BRAFT, *words], cwd=ROOT, env=_environ({})
    )
    files = Path(f"/proc/{process.pid}/fd")
    try:
        with Client([f"127.0.0.1:{ports[2]}"]) as client:
            wait_for(lambda: client.ready()[0], 60)
            assert client.kv_put("m", "k", "v") > 0
        # The next opened file gets a closed stream's descriptor; it must not be a store.
        assert {os.readlink(files / str(number)) for number in range(3)} == {"/dev/null"}
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert (tmp_path / "raft.db").stat().st_size > 0


# -- early signals -------------------------------------------------------------------------------


@pytest.fixture
def slow_import(tmp_path: Path) -> Path:
    """Make a folder with a ``typer`` whose import does not end and leaves a file when it begins."""
    begun = tmp_path / "begun"
    text = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(600)\n"
    (tmp_path / "typer.py").write_text(text)
    return tmp_path


@pytest.mark.integration
@pytest.mark.optional
def test_sigterm_while_importing_ends_the_first_process_of_a_container(slow_import: Path) -> None:
    as_first = ["unshare", "--pid", "--fork", "--kill-child"]
    tried = subprocess.run([*as_first, "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no process namespace here: {tried.stderr.decode().strip()}")
    environ = _environ({"PYTHONPATH": str(slow_import)})
    process = subprocess.Popen([*as_first, *BRAFT, "run"], cwd=ROOT, env=environ)
    try:
        wait_for((slow_import / "begun").exists, 60)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_importing_ends_the_process_without_a_traceback(
    slow_import: Path, number: signal.Signals
) -> None:
    environ = _environ({"PYTHONPATH": str(slow_import)})
    process = subprocess.Popen(
        [*BRAFT, "run"], cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for((slow_import / "begun").exists, 60)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (128 + number, "")
    finally:
        process.kill()
        process.wait()
