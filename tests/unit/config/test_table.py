"""Every row of the public settings table: long name, short name, default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core.config import Settings

#: The default services.
DEFAULT = ("kv", "distribute", "store")

# field, long name, short name, text for the environment, its value, default
ROWS: list[tuple[str, str, str, str, Any, Any]] = [
    ("discovery", "BRAFT_DISCOVERY", "BDI", "a,b,c", "a,b,c", ""),
    ("ip", "BRAFT_IP", "BIP", "192.168.1.1", "192.168.1.1", ""),
    ("interface", "BRAFT_IF", "BIF", "eth0", "eth0", ""),
    ("rport", "BRAFT_RPORT", "BRP", "16000", 16000, None),
    ("dport", "BRAFT_DPORT", "BDP", "16001", 16001, None),
    ("hport", "BRAFT_HPORT", "BHP", "16002", 16002, None),
    ("restart_min", "BRAFT_RESTART_MIN", "", "30s", 30.0, 90.0),
    ("leader_steady", "BRAFT_LEADER_STEADY", "", "10s", 10.0, 60.0),
    ("autopilot", "BRAFT_AUTOPILOT", "", "dry-run", "dry-run", "on"),
    ("dead_after", "BRAFT_DEAD_AFTER", "", "2m", 120.0, 60.0),
    ("min_voters", "BRAFT_MIN_VOTERS", "", "3", 3, 2),
    ("removal_window", "BRAFT_REMOVAL_WINDOW", "", "10m", 600.0, 3600.0),
    ("sleep", "BRAFT_SLEEP", "BSL", "10ms-15s", (0.01, 15.0), (0.01, 0.3)),
    ("mdns_service", "MDNS_SERVICE", "MDS", "_x._tcp", "_x._tcp", "_braft._tcp,_windows"),
    ("k8s_namespace", "K8S_NAMESPACE", "K8N", "prod", "prod", ""),
    ("k8s_labels", "K8S_LABELS", "K8L", "svc=braft", "svc=braft", ""),
    ("k8s_portname", "K8S_PORTNAME", "K8P", "http", "http", ""),
    ("k8s_sleep", "K8S_SLEEP", "", "15-30s", (15.0, 30.0), (0.0, 0.0)),
    ("grpc_reflection", "DISABLE_GRPC_REFLECTION", "DGR", "on", False, True),
    ("data_dir", "BRAFT_DATA_DIR", "BDD", ":memory:", ":memory:", ""),
    ("expect", "BRAFT_EXPECT", "BEX", "3", 3, None),
    ("serializer", "BRAFT_SERIALIZER", "BSR", "json", "json", "msgpack"),
    ("transport", "BRAFT_TRANSPORT", "", "memory", "memory", "grpc"),
    ("storage", "BRAFT_STORAGE", "", "memory", "memory", "sqlite"),
    ("services", "BRAFT_SERVICES", "", "kv,mine", ("kv", "mine"), DEFAULT),
    ("plugins_disable", "BRAFT_PLUGINS_DISABLE", "", "mdns, k8s", ("mdns", "k8s"), ()),
    ("log", "BRAFT_LOG", "", "DEBUG", "debug", "info"),
    ("log_format", "BRAFT_LOG_FORMAT", "", "json", "json", "console"),
    ("log_stdout", "GOLOG_STDOUT", "", "true", True, False),
    ("app_version", "BRAFT_APP_VERSION", "", "1.0.0", "1.0.0", ""),
    ("build_time", "BRAFT_BUILD_TIME", "", "2024-05-15", "2024-05-15", ""),
    ("git_commit", "BRAFT_GIT_COMMIT", "", "main-18f39a8", "main-18f39a8", ""),
    ("cluster_name", "BRAFT_CLUSTER_NAME", "", "blue", "blue", "braft"),
    ("host", "BRAFT_HOST", "", "::1", "::1", ""),
    ("max_value_bytes", "BRAFT_MAX_VALUE_BYTES", "", "1000", 1000, 1_500_000),
    ("request_timeout", "BRAFT_REQUEST_TIMEOUT", "", "1m30s", 90.0, 10.0),
    ("http", "BRAFT_HTTP", "", "off", False, True),
    ("http_tls", "BRAFT_HTTP_TLS", "", "off", False, None),
    ("http_server", "BRAFT_HTTP_SERVER", "", "waitress", "waitress", "uvicorn"),
    ("http_hosts", "BRAFT_HTTP_HOSTS", "", "A.example,.svc,*", ("a.example", ".svc", "*"), ()),
    ("heartbeat_interval", "BRAFT_HEARTBEAT_INTERVAL", "", "50ms", 0.05, 0.1),
    ("election_timeout", "BRAFT_ELECTION_TIMEOUT", "", "2s", 2.0, 1.0),
    ("lease_reads", "BRAFT_LEASE_READS", "", "on", True, False),
    ("max_outstanding", "BRAFT_MAX_OUTSTANDING", "", "7", 7, 65_536),
    ("snapshot_entries", "BRAFT_SNAPSHOT_ENTRIES", "", "7", 7, 50_000),
    ("snapshot_bytes", "BRAFT_SNAPSHOT_BYTES", "", "7", 7, 64_000_000),
    ("gc_freeze", "BRAFT_GC_FREEZE", "", "on", True, False),
    ("snapshot_max_bytes", "BRAFT_SNAPSHOT_MAX_BYTES", "", "7", 7, 64 << 30),
    ("snapshot_trailing", "BRAFT_SNAPSHOT_TRAILING", "", "7", 7, 10_000),
    ("store_history", "BRAFT_STORE_HISTORY", "", "1h, 5000", (3600.0, 5_000), (600.0, 100_000)),
    ("store_max_bytes", "BRAFT_STORE_MAX_BYTES", "", "7", 7, 2 << 30),
    ("insecure", "BRAFT_INSECURE", "", "off", False, None),
    ("digest_interval", "BRAFT_DIGEST_INTERVAL", "", "0", 0.0, 600.0),
    ("hashicorp_peers", "BRAFT_HASHICORP_PEERS", "", "on", True, False),
]
#: Refused without certificates.
WITH_CERTIFICATES = [
    ("tls", "BRAFT_TLS", "prefer", "prefer", None),
    ("tls_peer_names", "BRAFT_TLS_PEER_NAMES", "n1.example, *.b", ("n1.example", "*.b"), ()),
    ("tls_server_name", "BRAFT_TLS_SERVER_NAME", "braft-peer", "braft-peer", ""),
]
FILES = {"tls_ca": "BRAFT_TLS_CA", "tls_cert": "BRAFT_TLS_CERT", "tls_key": "BRAFT_TLS_KEY"}
HTTP_FILES = {"http_tls_cert": "BRAFT_HTTP_TLS_CERT", "http_tls_key": "BRAFT_HTTP_TLS_KEY"}
FILES |= HTTP_FILES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_default(row: tuple[Any, ...]) -> None:
    settings = Settings.load(environ={})
    assert getattr(settings, row[0]) == row[5]
    assert settings.provenance[row[0]] == "default"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_environment(row: tuple[Any, ...]) -> None:
    field, long, short, text, value, _ = row
    for name in (long, short):
        if name:
            settings = Settings.load(environ={name: text})
            assert getattr(settings, field) == value
            assert settings.provenance[field] == f"environment {name}"
            assert settings.label(field) == name
    assert Settings.variables()[field].short == short


@pytest.mark.parametrize("row", WITH_CERTIFICATES, ids=lambda row: row[0])
def test_of_tls(row: tuple[Any, ...], tmp_path: Path) -> None:
    field, long, text, value, default = row
    assert getattr(Settings.load(environ={}), field) == default
    pem = tmp_path / "x.pem"
    pem.write_text("x")
    files = dict.fromkeys(FILES.values(), str(pem))
    settings = Settings.load(environ={**files, long: text})
    assert getattr(settings, field) == value
    assert settings.label(field) == long


def test_nothing_is_missing_from_the_table() -> None:
    tabled = {row[0] for row in (*ROWS, *WITH_CERTIFICATES)} | set(FILES)
    tabled |= {"token", "token_file", "plugins"}
    assert tabled == set(Settings.model_fields)
    assert {field: Settings.variables()[field].long for field in FILES} == FILES
    assert Settings.variables()["token"].long == "BRAFT_TOKEN"
    assert Settings.variables()["token_file"].long == "BRAFT_TOKEN_FILE"


@pytest.mark.parametrize("word", ["on", "1", "true", "YES"])
def test_reflection_is_disabled(word: str) -> None:
    assert not Settings.load(environ={"DISABLE_GRPC_REFLECTION": word}).grpc_reflection


@pytest.mark.parametrize("word", ["off", "0", "false", "no", ""])
def test_reflection_stays(word: str) -> None:
    assert Settings.load(environ={"DGR": word}).grpc_reflection
