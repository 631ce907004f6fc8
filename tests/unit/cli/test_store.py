"""``braft store``: what is printed, what is JSON, and bytes that are no text."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from braft_core.cli.store_words import condition, operation
from braft_core.errors import ConfigError
from braft_core.store import Delete, Get, Key, Put

#: How Python has the argument b"\xff".
RAW = "\udcff"


@pytest.fixture
def store(braft: Any, url: str) -> Any:
    """Run ``braft store``."""
    return lambda *words, **options: braft("store", *words, "--url", url, **options)


@pytest.fixture
def store_json(braft_json: Any, url: str) -> Any:
    return lambda *words: braft_json("store", *words, "--url", url)


def test_a_value_is_stored_printed_and_deleted(store: Any, store_json: Any) -> None:
    assert store("put", "jobs/1", "new").stdout == "stored at revision 2\n"
    assert store("get", "jobs/1").stdout == "new\n"
    assert store("get", "jobs/1", "--raw").stdout_bytes == b"new"
    assert store_json("get", "jobs/1") == {
        "key": "jobs/1",
        "value": "new",
        "base64": [],
        "revision": 2,
        "created": 2,
        "version": 1,
        "lease": "0",
        "found": True,
    }
    store("put", "jobs/1", "later")
    assert store("get", "jobs/1", "--revision", "2").stdout == "new\n"
    assert store("del", "jobs/1").stdout == "deleted\n"
    assert store("del", "jobs/1").stdout == "there was no such key\n"
    missing = store("get", "jobs/1")
    assert (missing.exit_code, missing.stderr) == (1, "the store has no key jobs/1\n")
    missing = store("get", "jobs/1", "--json")
    assert missing.exit_code == 1
    assert json.loads(missing.stdout) == {"key": "jobs/1", "base64": [], "found": False}


def test_a_range_is_listed(store: Any, store_json: Any) -> None:
    for number in range(3):
        store("put", f"k{number}", str(number))
    store("put", "other", 'a "line"\n')
    lines = ['k0\t"0"\n', 'k1\t"1"\n', 'k2\t"2"\n']
    assert store("get", "k", "--prefix").stdout == "".join(lines)
    assert store("get", "k1", "--end", "p").stdout == "".join(lines[1:]) + (
        'other\t"a \\"line\\"\\n"\n'
    )
    assert store("get", "", "--prefix", "--keys-only").stdout == "k0\nk1\nk2\nother\n"
    cut = store("get", "k", "--prefix", "--limit", "2")
    assert (cut.stdout, cut.stderr) == ("".join(lines[:2]), "there are more\n")
    assert store("get", "k", "--prefix", "--count").stdout == "3\n"
    assert store_json("get", "k1", "--end", "k2", "--count") == {"count": 1}
    found = store_json("get", "k", "--prefix", "--limit", "1")
    assert (found["entries"][0]["value"], found["more"]) == ("0", True)
    assert store_json("get", "k1", "--end", "k2", "--keys-only") == {
        "entries": [{"key": "k1", "base64": []}],
        "more": False,
    }
    assert store("del", "k", "--prefix").stdout == "deleted 3 keys\n"
    assert store_json("del", "", "--prefix") == {"deleted": 1}


def test_bytes_are_told_from_text(store: Any, store_json: Any) -> None:
    assert store("put", f"k{RAW}", "-", input=b"\x00\xff").exit_code == 0
    assert store("get", f"k{RAW}").stdout_bytes == b"\x00\xff"
    assert store("get", "", "--prefix").stdout == "b'k\\xff'\t<2 bytes>\n"
    found = store_json("get", f"k{RAW}")
    assert found["base64"] == ["key", "value"]
    assert base64.b64decode(found["key"]) == b"k\xff"
    assert base64.b64decode(found["value"]) == b"\x00\xff"
    store("put", "text", "-", input="ü\n".encode())
    assert store_json("get", "text")["value"] == "ü\n"


def test_a_write_may_depend_on_the_revision(store: Any, store_json: Any) -> None:
    assert store_json("put", "k", "1", "--if-revision", "0")["revision"] == 2
    refused = store("put", "k", "2", "--if-revision", "0")
    assert (refused.exit_code, refused.stderr) == (1, "key b'k' is at revision 2\n")
    assert store("put", "k", "2", "--if-revision", "2").exit_code == 0
    assert "does not exist" in store("put", "x", "2", "--if-revision", "2").stderr


def test_a_transaction_is_written_in_words(store: Any, store_json: Any) -> None:
    words: tuple[str, ...] = ("txn", "--when", "owner version == 0", "--then", "put owner 'me too'")
    words += ("--then", "get owner", "--otherwise", "get owner", "--otherwise", "get o*")
    done = store(*words)
    assert (done.exit_code, done.stdout) == (0, 'done at revision 2\nowner\t"me too"\n')
    refused = store(*words)
    assert (refused.exit_code, refused.stderr) == (1, "a condition does not hold\n")
    assert refused.stdout == 'owner\t"me too"\n' * 2
    answer = store_json("txn", "--then", "get none", "--then", "del o*", "--then", "put a b")
    assert answer == {"succeeded": True, "revision": 3, "answers": [None, 1, 3]}


def test_the_words_of_a_transaction() -> None:
    assert repr(condition("'a b' created > 5")) == repr(Key("a b").created > 5)
    assert repr(condition("a value != ''")) == repr(Key("a").value != b"")
    assert repr(condition("a lease < 7")) == repr(Key("a").lease < 7)
    assert operation("put a b 7") == Put(b"a", b"b", 7)
    assert operation("get a") == Get(b"a")
    assert operation("get a*") == Get(prefix=b"a")
    assert operation("del *") == Delete(prefix=b"")
    for text in ("", "a version = 0", "a version == x", "a age == 1", "a value ==", "a 'b"):
        with pytest.raises(ConfigError, match="KEY TARGET SIGN VALUE"):
            condition(text)
    for text in ("", "put a", "put a b c", "get", "get a b", "watch a", "put 'a b"):
        with pytest.raises(ConfigError, match="put KEY VALUE"):
            operation(text)


def test_leases_go_with_their_keys(store: Any, store_json: Any) -> None:
    assert store("lease", "grant", "60", "--id", "7").stdout == "lease 7 for 60 s\n"
    store("put", f"k{RAW}", "1", "--lease", "7")
    assert store("lease", "renew", "7").stdout == "renewed for 60 s\n"
    assert store("lease", "ttl", "7").stdout == "60 s of 60 s are left\nb'k\\xff'\n"
    [key] = store_json("lease", "ttl", "7")["keys"]
    assert (base64.b64decode(key["key"]), key["base64"]) == (b"k\xff", ["key"])
    drawn = store_json("lease", "grant", "2.5")
    assert drawn["ttl"] == 2.5
    assert store_json("lease", "list") == {"leases": ["7", drawn["id"]]}
    assert store("lease", "revoke", "7").stdout == "revoked at revision 3\n"
    assert store("get", "", "--prefix").stdout == ""
    assert store("lease", "list").stdout == f"{drawn['id']}\n"
    for words in (("renew", "7"), ("revoke", "7"), ("ttl", "7")):
        refused = store("lease", *words)
        assert refused.exit_code == 1
        assert "no lease 7" in refused.stderr
    assert store_json_of_missing(store) == {"id": "7", "found": False}


def store_json_of_missing(store: Any) -> Any:
    return json.loads(store("lease", "ttl", "7", "--json").stdout)


def test_history_is_compacted(store: Any, store_json: Any) -> None:
    for value in ("1", "2"):
        store("put", "k", value)
    assert store("compact", "3").stdout == "revisions before 3 are forgotten\n"
    gone = store("get", "k", "--revision", "2", "--json")
    assert (gone.exit_code, json.loads(gone.stdout)["error"]["code"]) == (1, "compacted")
    assert store_json("status") == {
        "revision": 3,
        "compacted": 3,
        "keys": 1,
        "size": store_json("status")["size"],
        "quota": 2 << 30,
        "leases": 0,
    }
    assert store("status").stdout.startswith("revision\t3\ncompacted\t3\nkeys\t1\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get", "k", "--prefix", "--end", "l"), "--prefix and --end 'l' are both given"),
        (("get", "b", "--end", "a"), "reversed"),
        (("get", "k", "--count"), "with --prefix or --end"),
        (("del", ""), "accepted: bytes that are not empty"),
        (("get", ""), "accepted: bytes that are not empty"),
        (("put", "", "v"), "accepted: bytes that are not empty"),
        (("txn", "--when", "k"), "KEY TARGET SIGN VALUE"),
        (("txn", "--then", "rm k"), "put KEY VALUE"),
        (("lease", "grant", "0"), "ttl"),
    ],
)
def test_wrong_usage_is_named(store: Any, words: tuple[str, ...], message: str) -> None:
    refused = store(*words)
    assert message in refused.stderr
    assert refused.exit_code == 2
