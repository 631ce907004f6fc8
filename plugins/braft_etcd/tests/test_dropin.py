"""``braft-etcd``: what etcd's flags mean for a node."""

from __future__ import annotations

from typing import Any

import pytest

from braft_core.errors import ConfigError
from braft_etcd.dropin import main
from braft_etcd.dropin.flags import read_flags
from braft_etcd.dropin.member import node_settings


def settings(*words: str, **environment: str) -> dict[str, Any]:
    return node_settings(read_flags(words, environment))


def test_without_flags_it_is_one_member_at_the_ports_of_etcd() -> None:
    assert settings() == {
        "data_dir": "default.etcd",
        "cluster_name": "etcd-cluster",
        "ip": "127.0.0.1",
        "host": "127.0.0.1",
        "rport": 2380,
        "log": "info",
        "log_format": "console",
        "store_history": "0,0",
        "discovery": "none",
        "plugins": {
            "etcd": {
                "server": "http2",
                "name": "default",
                "listen": "127.0.0.1:2379",
                "advertise": "http://localhost:2379",
                "progress": "10m",
            }
        },
    }


_THREE = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://[fd00::3]:2380"


def test_a_member_of_three() -> None:
    found = settings(
        "--name=b",
        "--data-dir",
        "/var/lib/etcd",
        "-listen-peer-urls=http://0.0.0.0:2380",
        "--initial-advertise-peer-urls=http://10.0.0.2:2380",
        "--listen-client-urls=http://0.0.0.0:2379",
        "--advertise-client-urls=http://10.0.0.2:2379/",
        f"--initial-cluster={_THREE}",
        "--initial-cluster-token=mine",
    )
    assert (found["ip"], found["host"], found["rport"]) == ("10.0.0.2", "0.0.0.0", 2380)
    assert (found["data_dir"], found["cluster_name"]) == ("/var/lib/etcd", "mine")
    assert found["discovery"] == "static:10.0.0.2:2380,10.0.0.1:2380,[fd00::3]:2380"
    assert found["expect"] == 3
    etcd = found["plugins"]["etcd"]
    assert (etcd["listen"], etcd["advertise"]) == ("0.0.0.0:2379", "http://10.0.0.2:2379")
    # A member that is added finds the others, and never begins a cluster with them.
    joins = settings(
        "--name=b",
        "--listen-peer-urls=http://10.0.0.2:2380",
        f"--initial-cluster={_THREE}",
        "--initial-cluster-state=existing",
    )
    assert joins["discovery"] == "static:10.0.0.1:2380,[fd00::3]:2380"
    assert "expect" not in joins


def test_other_flags_and_variables() -> None:
    found = settings(
        "--auto-compaction-retention=5m",
        "--snapshot-count=10000",
        "--heartbeat-interval=200",
        "--experimental-watch-progress-notify-interval=1s",
        "--log-level=warn",
        "--client-cert-auth",
        "--trusted-ca-file=ca.pem",
        "--cert-file=c.pem",
        "--key-file=k.pem",
        ETCD_NAME="one",
        ETCD_LOG_LEVEL="debug",
        ETCD_ELECTION_TIMEOUT="2000",
        ETCD_LISTEN_CLIENT_URLS="https://127.0.0.1:9000",
        ETCD_QUOTA_BACKEND_BYTES="1000000",
        ETCD_MAX_REQUEST_BYTES="2000000",
        PATH="/bin",
    )
    wanted = {
        "data_dir": "one.etcd",
        "store_history": "5m,0",
        "store_max_bytes": 1_000_000,
        "snapshot_entries": 10_000,
        "heartbeat_interval": "200ms",
        "election_timeout": "2000ms",
        "log": "warning",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["plugins"]["etcd"] == {
        "server": "http2",
        "name": "one",
        "listen": "127.0.0.1:9000",
        "advertise": "https://127.0.0.1:9000",
        "progress": "1s",
        "tls_cert": "c.pem",
        "tls_key": "k.pem",
        "client_ca": "ca.pem",
        "request_bytes": 2_000_000,
    }
    by_hours = settings("--auto-compaction-retention=2")
    by_number = settings("--auto-compaction-mode=revision", "--auto-compaction-retention=500")
    assert (by_hours["store_history"], by_number["store_history"]) == ("2h,0", "0,500")


def test_what_changes_nothing_is_noted() -> None:
    found = read_flags(["--pre-vote", "--max-wals", "3"], {"ETCD_VERSION_OF_IMAGE": "3"})
    assert found.notes == [
        "ETCD_VERSION_OF_IMAGE is no variable of etcd's that is known; it is ignored",
        "--pre-vote has no meaning here; it is ignored",
        "--max-wals has no meaning here; it is ignored",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nam=x"], r"there is no flag --nam; did you mean --name\?"),
        (["--qqq"], "there is no flag --qqq; accepted: see --help"),
        (["gateway"], "'gateway' is no flag"),
        (["--name"], "--name has no value"),
        (["--auto-tls=true"], "--auto-tls is not supported: make certificates with braft tls"),
        (["--peer-cert-file=x"], "is not supported: set BRAFT_TLS"),
        (["--listen-client-urls=unix://x"], "accepted: one URL such as"),
        (["--listen-client-urls=http://a:1,http://b:1"], "accepted: one URL such as"),
        (["--listen-client-urls=http://127.0.0.1"], "accepted: one URL such as"),
        (["--listen-client-urls=http://127.0.0.1:99999"], "accepted: one URL such as"),
        (["--listen-client-urls=https://127.0.0.1:1"], "https with --cert-file and --key-file"),
        (["--listen-peer-urls=https://127.0.0.1:1"], "chosen by BRAFT_TLS"),
        (["--listen-peer-urls=http://0.0.0.0:1"], "under which the other members reach this one"),
        (
            ["--advertise-client-urls=http://0.0.0.0:1"],
            "accepted: a URL under which clients reach this member",
        ),
        (
            ["--initial-advertise-peer-urls=http://127.0.0.1:5"],
            "the port of --listen-peer-urls, 2380",
        ),
        (["--initial-cluster=b=http://127.0.0.1:2380"], "the name of this member, 'default'"),
        (["--initial-cluster=default=http://127.0.0.1:1"], "the URL of default as"),
        (["--initial-cluster=http://127.0.0.1:1"], "one URL such as|name=URL"),
        (["--initial-cluster-state=old"], "accepted: new, existing"),
        (["--initial-cluster-state=existing"], "other members too"),
        (["--cert-file=x"], "--cert-file and --key-file are given together"),
        (["--trusted-ca-file=x"], "--client-cert-auth needs --trusted-ca-file"),
        (["--client-cert-auth"], "--client-cert-auth needs --trusted-ca-file"),
        (["--client-cert-auth=maybe"], "accepted: true, t, 1, false, f, 0"),
        (["--quota-backend-bytes=-1"], "accepted: a whole number"),
        (["--auto-compaction-retention=soon"], "accepted: a duration"),
        (["--log-level=loud"], "accepted: debug, info, warn, error"),
    ],
)
def test_what_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(*words)


def test_a_variable_is_named_as_it_was_given() -> None:
    with pytest.raises(ConfigError, match=r"^ETCD_LOG_LEVEL=loud; accepted: debug"):
        settings(ETCD_LOG_LEVEL="loud")
    with pytest.raises(ConfigError, match=r"^ETCD_DISCOVERY is not supported"):
        settings(ETCD_DISCOVERY="x")


def test_the_program_tells_what_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("etcd Version: 3.6.0\n")
    assert main(["--help"]) == 0
    assert "--initial-cluster-token            etcd-cluster" in capsys.readouterr().out
    assert main(["--qqq"]) == 1
    assert '"level": "fatal"' in (said := capsys.readouterr().err)
    assert "there is no flag --qqq" in said
