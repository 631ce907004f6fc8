"""The address book: a server's newest announcement wins over the configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.abc import Contact
from braft_core.cluster.address_book import AddressBook, contact_at
from braft_core.errors import DecodeError
from braft_core.raft.types import Configuration, Server

TWO = Configuration((Server("a", "a:1"), Server("b", "b:1")))


@pytest.mark.parametrize(
    ("text", "contact"),
    [
        ("host:15000", Contact("host", 15000)),
        ("[::1]:65535", Contact("::1", 65535)),
        ("10.0.0.1:1", Contact("10.0.0.1", 1)),
    ],
)
def test_addresses_are_parsed_and_written_alike(text: str, contact: Contact) -> None:
    assert contact_at(text) == contact
    assert str(contact) == text


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "host:0", "host:65536", "host:x", "h:²"]
)
def test_wrong_addresses_are_named(text: str) -> None:
    with pytest.raises(DecodeError, match="accepted: host:port"):
        contact_at(text)


def test_the_configuration_is_the_weakest_source() -> None:
    book = AddressBook()
    book.configure(TWO)
    assert book.get("a") == "a:1"
    assert book.learn(5.0, "a", "a:2")
    book.configure(TWO)
    assert book.get("a") == "a:2"
    assert book.get("stranger") == ""


def test_changes_are_reported_once() -> None:
    book = AddressBook()
    book.configure(TWO)
    assert book.take_changes() == [("a", "a:1"), ("b", "b:1")]
    assert book.take_changes() == []
    book.learn(1.0, "b", "b:2")
    book.learn(1.0, "stranger", "s:1")
    assert book.take_changes() == [("b", "b:2")]


def test_a_server_that_leaves_and_returns_between_two_looks_is_news() -> None:
    book, alone = AddressBook(), Configuration(TWO.servers[:1])
    book.configure(TWO)
    book.learn(1.0, "b", "b:2")
    assert ("b", "b:2") in book.take_changes()
    book.configure(alone)
    book.configure(TWO)
    assert book.get("b") == "b:1", "what it said before it left counts no longer"
    assert book.take_changes() == [("b", "b:1")]
    book.configure(alone)
    book.configure(TWO)
    book.learn(2.0, "b", "b:1")
    assert book.take_changes() == [("b", "b:1")], "whoever had been given it has dropped it"


def test_outdated_addresses_are_those_that_differ() -> None:
    book = AddressBook()
    book.configure(TWO)
    assert book.outdated(TWO) == []
    book.learn(1.0, "a", "a:1")
    book.learn(1.0, "b", "b:2")
    assert book.outdated(TWO) == [Server("b", "b:2")]


def test_news_that_overtakes_the_configuration_is_kept_and_leavers_are_forgotten() -> None:
    book = AddressBook()
    book.configure(TWO)
    book.learn(1.0, "c", "c:2")
    book.configure(Configuration((*TWO.servers, Server("c", "c:1"))))
    assert book.get("c") == "c:2"
    book.configure(TWO)
    assert book.get("c") == ""


def test_whether_something_changed() -> None:
    book = AddressBook()
    book.configure(TWO)
    assert not book.learn(0.0, "b", "b:1"), "the configuration says so already"
    book.configure(Configuration())
    assert book.learn(1.0, "a", "a:1")
    assert not book.learn(2.0, "a", "a:1")
    assert not book.learn(3.0, "", "a:1")
    assert not book.learn(3.0, "a", "")


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from("xyz"))))
def test_the_newest_word_wins_in_whatever_order_it_arrives(
    news: list[tuple[int, str, str]],
) -> None:
    book = AddressBook()
    newest: dict[str, tuple[int, str]] = {}
    for at, server_id, address in news:
        book.learn(float(at), server_id, address)
        if at >= newest.get(server_id, (-1, ""))[0]:
            newest[server_id] = (at, address)
    assert {i: book.get(i) for i in newest} == {i: a for i, (_, a) in newest.items()}
