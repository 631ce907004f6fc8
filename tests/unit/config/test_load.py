"""Precedence, provenance, and errors that name what the user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from braft_core.config import Settings, sourced_options, unknown_variable_message
from braft_core.errors import ConfigError


def refused(**sources: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings.load(**({"environ": {}} | sources))
    return caught.value.message


def toml(text: str, name: str = "braft.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def test_each_source_overrules_the_one_below() -> None:
    toml("rport = 1001")
    env = {"BRP": "1002"}
    steps: list[tuple[dict[str, Any], int, str]] = [
        ({"environ": {}}, 1001, "braft.toml"),
        ({"environ": env}, 1002, "environment BRP"),
        ({"environ": env, "kwargs": {"rport": 1003}}, 1003, "argument"),
        (
            {"environ": env, "kwargs": {"rport": 1003}, "cli": {"rport": 1004}},
            1004,
            "command line",
        ),
    ]
    for given, port, origin in steps:
        settings = Settings.load(**given)
        assert (settings.rport, settings.provenance["rport"]) == (port, origin)


def test_none_is_not_given() -> None:
    settings = Settings.load(environ={"BRP": "1"}, kwargs={"rport": None}, cli={"rport": None})
    assert settings.rport == 1


def test_settings_are_frozen() -> None:
    settings = Settings.load(environ={})
    with pytest.raises(ValidationError):
        settings.rport = 5  # type: ignore[misc]  # the point of the test


def test_toml_file_is_found() -> None:
    toml("rport = 1", "other.toml")
    toml("rport = 2", "third.toml")
    assert Settings.load(environ={}).rport is None
    named = Settings.load(environ={"BRAFT_CONFIG": "other.toml"})
    assert (named.rport, named.provenance["rport"]) == (1, "other.toml")
    explicit = Settings.load(environ={"BRAFT_CONFIG": "other.toml"}, toml=Path("third.toml"))
    assert explicit.rport == 2
    assert not named.unrecognized_variables


def test_missing_toml_file() -> None:
    assert "BRAFT_CONFIG='gone.toml'" in refused(environ={"BRAFT_CONFIG": "gone.toml"})
    assert "gone.toml" in refused(toml=Path("gone.toml"))


def test_broken_toml_file() -> None:
    toml("rport = = 1")
    assert refused().startswith("braft.toml: cannot be read as TOML")


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("rprot = 1", "braft.toml: rprot", "did you mean rport?"),
        ("[zone]\nrport = 1", "braft.toml: zone.rport", "braft config"),
        ("[raft.timing]\nheartbeat = 1", "braft.toml: raft.timing.heartbeat", ""),
        ("plugins = 1", "braft.toml: plugins", "table"),
        ("[plugins]\nmdns = 1", "braft.toml: plugins.mdns", "table"),
    ],
)
def test_unknown_toml_keys(text: str, path: str, hint: str) -> None:
    toml(text)
    message = refused()
    assert path in message
    assert hint in message


def test_unknown_argument_and_option() -> None:
    assert "rports" in refused(kwargs={"rports": 1})
    assert "did you mean rport?" in refused(kwargs={"rports": 1})
    assert "--leader-stead:" in refused(cli={"leader_stead": 1})


def test_variables_that_no_setting_reads_are_kept_for_plugins() -> None:
    given = {"BRAFT_RPROT": "1", "BRAFTER": "1", "BRAFT_ZQX": "1", "BRP": "2"}
    assert Settings.load(environ=given).unrecognized_variables == {
        "BRAFT_RPROT": "1",
        "BRAFT_ZQX": "1",
    }
    known = {"BRAFT_RPORT", "BRAFT_DPORT"}
    near, far = (unknown_variable_message(name, known) for name in ("BRAFT_RPROT", "BRAFT_ZQX"))
    assert near == "environment BRAFT_RPROT: no such setting; did you mean BRAFT_RPORT?"
    assert "did you mean" not in far


def test_long_and_short_name() -> None:
    message = refused(environ={"BRAFT_RPORT": "1", "BRP": "2"})
    assert "BRAFT_RPORT='1'" in message
    assert "BRP='2'" in message
    same = Settings.load(environ={"BRAFT_RPORT": "1", "BRP": "1"})
    assert (same.rport, same.provenance["rport"]) == (1, "environment BRAFT_RPORT")


BAD: list[tuple[str, str]] = [
    ("BRP", "abc"),
    ("BRP", "65536"),
    ("BRP", "-1"),
    ("BRP", "1.5"),
    ("BRAFT_DPORT", "15 000"),
    ("BIP", "host1"),
    ("BIP", "0.0.0.0"),
    ("BIP", "224.0.0.1"),
    ("BRAFT_HOST", "everywhere"),
    ("BRAFT_RESTART_MIN", "90"),
    ("BRAFT_RESTART_MIN", "0"),
    ("BRAFT_LEADER_STEADY", "-1s"),
    ("BSL", "15s-10ms"),
    ("BSL", "a-b"),
    ("K8S_SLEEP", "1-2"),
    ("BEX", "0"),
    ("BSR", "a b"),
    ("BRAFT_SERVICES", "kv,kv"),
    ("BRAFT_LOG", "loud"),
    ("BRAFT_LOG_FORMAT", "xml"),
    ("BRAFT_TLS_CA", "/no/such/file.pem"),
    ("BRAFT_HTTP", "maybe"),
    ("DGR", "maybe"),
    ("BRAFT_MAX_VALUE_BYTES", "1.5MB"),
    ("BRAFT_REQUEST_TIMEOUT", "0"),
    ("BRAFT_CLUSTER_NAME", "my cluster"),
    ("BRAFT_STORE_HISTORY", "10m"),
    ("BRAFT_STORE_HISTORY", "10m,-1"),
    ("BRAFT_STORE_HISTORY", "10,100"),
    ("BRAFT_STORE_HISTORY", "10m,many"),
    ("BRAFT_STORE_HISTORY", "1m,2,3"),
    ("BRAFT_STORE_MAX_BYTES", "0"),
]


@pytest.mark.parametrize(
    ("given", "history"),
    [
        ("0", (0.0, 0)),
        ("0,0", (0.0, 0)),
        ("90s, 5", (90.0, 5)),
        (["10m", 7], (600.0, 7)),
        ((5, 0), (5.0, 0)),
    ],
)
def test_the_history_of_the_store(given: Any, history: tuple[float, int]) -> None:
    settings = Settings.load(environ={}, kwargs={"store_history": given})
    assert settings.store_history == history


@pytest.mark.parametrize(("name", "text"), BAD)
def test_bad_values_name_the_variable_the_value_and_what_is_accepted(name: str, text: str) -> None:
    message = refused(environ={name: text})
    assert message.startswith(f"{name}={text!r}: ")
    assert "; accepted: " in message


def test_bad_values_are_named_as_they_were_written() -> None:
    path = toml("rport = 'x'", "my.toml")
    assert refused(toml=path).startswith("my.toml: rport='x': ")
    assert refused(kwargs={"rport": True}).startswith("rport=True: ")
    assert refused(cli={"restart_min": "x"}).startswith("--restart-min='x': ")


def test_every_bad_value_is_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ={"BRP": "x", "BEX": "y"})
    assert [line.split("=")[0] for line in caught.value.message.splitlines()] == ["BRP", "BEX"]
    assert caught.value.data["setting"] == "BRP"


@pytest.mark.parametrize("text", ["se cret-se cret-se", "short", "read:only-the-role-to-read"])
def test_a_bad_token_is_not_repeated(text: str) -> None:
    for source in ({"environ": {"BRAFT_TOKEN": text}}, {"kwargs": {"token": text}}):
        with pytest.raises(ConfigError, match="token_urlsafe") as caught:
            Settings.load(**({"environ": {}} | source))  # type: ignore[arg-type]
        secret = text.removeprefix("read:")
        assert secret not in f"{caught.value} {caught.value.data}"
        assert caught.value.__suppress_context__


def test_tokens_come_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch()
    environ = {"BRAFT_TOKEN": "s3cret-s3cret-s3cret", "BRAFT_TOKEN_FILE": str(file)}
    with pytest.raises(ConfigError, match="BRAFT_TOKEN and BRAFT_TOKEN_FILE are both set"):
        Settings.load(environ=environ)


def test_plain_numbers_are_seconds_in_toml_and_code() -> None:
    toml("restart_min = 5\nsleep = [0.1, 2]\nk8s_sleep = '50-80s'\nservices = ['kv']")
    settings = Settings.load(environ={}, kwargs={"request_timeout": 0.5})
    assert (settings.restart_min, settings.request_timeout) == (5.0, 0.5)
    assert (settings.sleep, settings.k8s_sleep) == ((0.1, 2.0), (50.0, 80.0))
    assert settings.services == ("kv",)


def test_tls_is_all_or_nothing(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("x")
    env = {"BRAFT_TLS_CA": str(pem), "BRAFT_TLS_CERT": str(pem)}
    assert "BRAFT_TLS_CA and BRAFT_TLS_CERT without BRAFT_TLS_KEY" in refused(environ=env)
    full = Settings.load(environ=env, kwargs={"tls_key": pem})
    assert full.tls_key == pem
    assert (full.tls, full.tls_mode) == (None, "require")


def test_tls_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("x")
    files = {f"BRAFT_TLS_{name}": str(pem) for name in ("CA", "CERT", "KEY")}
    for mode in ("require", "prefer"):
        assert f"BRAFT_TLS={mode} without certificates" in refused(environ={"BRAFT_TLS": mode})
        assert Settings.load(environ={**files, "BRAFT_TLS": mode}).tls_mode == mode
    for environ in ({}, {"BRAFT_TLS": "off"}):
        assert Settings.load(environ=environ).tls_mode == "off"
    assert Settings.load(environ={**files, "BRAFT_TLS": "off"}).tls_mode == "off"
    for name in ("BRAFT_TLS_PEER_NAMES", "BRAFT_TLS_SERVER_NAME"):
        assert f"{name} without certificates" in refused(environ={name: "a.example"})


@pytest.mark.parametrize(
    "names", ["*", "*.", "a.*", "**.a", "*.*.a", "a,a", "a\nb", "*.a b", "*x.example", ","]
)
def test_peer_names_that_say_too_much_or_nothing_are_refused(names: str, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("x")
    files = {f"BRAFT_TLS_{name}": str(pem) for name in ("CA", "CERT", "KEY")}
    assert "BRAFT_TLS_PEER_NAMES" in refused(environ={**files, "BRAFT_TLS_PEER_NAMES": names})


@pytest.mark.parametrize("name", ["10.0.0.1", "*.example", "a..b", "-a", "a b", "a" * 300, "::1"])
def test_a_server_name_is_a_host_name(name: str, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("x")
    files = {f"BRAFT_TLS_{name}": str(pem) for name in ("CA", "CERT", "KEY")}
    assert "BRAFT_TLS_SERVER_NAME" in refused(environ={**files, "BRAFT_TLS_SERVER_NAME": name})


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"BRP": "1000", "BDP": "1000"}, ("BRP", "BDP")),
        ({"BRP": "1000", "BHP": "1001"}, ("BRAFT_DPORT", "BHP")),
        ({"BRP": "65535"}, ("BRAFT_DPORT",)),
        ({"BDP": "65535"}, ("BRAFT_HPORT",)),
    ],
)
def test_ports_that_cannot_be(env: dict[str, str], names: tuple[str, ...]) -> None:
    message = refused(environ=env)
    assert all(name in message for name in names)


def test_free_ports_may_all_be_zero() -> None:
    settings = Settings.load(environ={}, kwargs={"rport": 0, "dport": 0, "hport": 0})
    assert (settings.rport, settings.dport, settings.hport) == (0, 0, 0)


def test_election_timeout_must_leave_room_for_heartbeats() -> None:
    message = refused(environ={"BRAFT_ELECTION_TIMEOUT": "150ms"})
    assert "BRAFT_ELECTION_TIMEOUT" in message
    assert "BRAFT_HEARTBEAT_INTERVAL" in message


def test_rows_mask_secrets_and_show_rules() -> None:
    settings = Settings.load(
        environ={
            "BRAFT_TOKEN": "s3cret-s3cret-s3cret",
            "BRP": "16000",
            "BRAFT_LEADER_STEADY": "1m",
        },
    )
    rows = {row.name: row for row in settings.rows()}
    assert "s3cret" not in str(settings.rows()) + repr(settings.token)
    assert rows["rport"] == ("rport", "16000", "environment BRP")
    assert rows["dport"].value == "(rport + 1)"
    assert rows["leader_steady"].value == "60s"
    assert rows["sleep"].value == "10ms-300ms"
    assert rows["grpc_reflection"].value == "on"
    assert set(settings.variables()) == set(rows)


def test_plugin_sections_are_merged_by_key() -> None:
    toml("[plugins.mdns]\ninterval = 1\nservice = '_a._tcp'")
    settings = Settings.load(environ={}, kwargs={"plugins": {"mdns": {"interval": 2}}})
    assert settings.plugins == {"mdns": {"interval": 2, "service": "_a._tcp"}}
    assert settings.provenance["plugins.mdns.interval"] == "argument"
    assert settings.provenance["plugins.mdns.service"] == "braft.toml"


def options(plugin: str, variables: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
    """Return value and origin of the options of a plugin."""
    found = sourced_options(Settings.load(**given), plugin, variables or {})
    return {key: (item.value, item.origin) for key, item in found.items()}


def test_options_of_a_plugin_contain_its_settings() -> None:
    assert options("mdns", environ={}) == {"service": ("_braft._tcp,_windows", "default")}
    toml("[plugins.mdns]\nservice = '_a._tcp'")
    assert options("mdns", environ={}) == {"service": ("_a._tcp", "braft.toml")}
    strong = options("mdns", environ={"MDS": "_b._tcp"})
    assert strong == {"service": ("_b._tcp", "environment MDS")}
    k8s = options("k8s", environ={"K8L": "a=b", "K8S_SLEEP": "1-2s"})
    assert {key: value for key, (value, _) in k8s.items()} == {
        "namespace": "",
        "labels": "a=b",
        "portname": "",
        "sleep": (1.0, 2.0),
    }
    assert options("other", environ={}) == {}


def test_variables_of_a_plugin_overrule_its_section_and_yield_to_arguments() -> None:
    toml("[plugins.lab]\npause = 1\nsize = 2")
    names = {"pause": "BRAFT_LAB_PAUSE", "size": "BRAFT_LAB_SIZE"}
    environ = {"BRAFT_LAB_PAUSE": "3s", "BRAFT_LAB_SIZE": " "}
    assert options("lab", names, environ=environ) == {
        "pause": ("3s", "environment BRAFT_LAB_PAUSE"),
        "size": (2, "braft.toml"),
    }
    kwargs = {"plugins": {"lab": {"pause": 4}}}
    given = options("lab", names, environ=environ, kwargs=kwargs)
    assert given["pause"] == (4, "argument")


def test_two_variables_of_one_option_must_agree() -> None:
    names = {"service": "BRAFT_MDNS_SERVICE"}
    both = {"MDNS_SERVICE": "_a._tcp", "BRAFT_MDNS_SERVICE": "_b._tcp"}
    with pytest.raises(ConfigError, match="MDNS_SERVICE and BRAFT_MDNS_SERVICE are the same"):
        options("mdns", names, environ=both)
    same = both | {"MDNS_SERVICE": "_b._tcp"}
    assert options("mdns", names, environ=same)["service"][0] == "_b._tcp"
    alone = options("mdns", names, environ={"BRAFT_MDNS_SERVICE": "_b._tcp"})
    assert alone["service"] == ("_b._tcp", "environment BRAFT_MDNS_SERVICE")


def test_settings_made_by_hand_have_options_too() -> None:
    made = Settings(plugins={"lab": {"pause": 1}})
    assert sourced_options(made, "lab")["pause"].value == 1


@pytest.mark.parametrize(
    ("env", "advertised", "bound"),
    [
        ({}, "", "127.0.0.1"),
        ({"BIP": "192.168.1.1"}, "", "0.0.0.0"),
        ({}, "192.168.1.1", "0.0.0.0"),
        ({"BIP": "127.0.0.1"}, "", "127.0.0.1"),
        ({}, "127.0.0.1", "127.0.0.1"),
        ({}, "::1", "::1"),
        ({}, "fd00::1", "::"),
        ({"BRAFT_HOST": "10.0.0.1"}, "127.0.0.1", "10.0.0.1"),
    ],
)
def test_bind_host(env: dict[str, str], advertised: str, bound: str) -> None:
    assert Settings.load(environ=env).bind_host(advertised) == bound
