"""Status messages for people."""

from __future__ import annotations

import pytest

from braft_core.abc import Contact
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.messages import removed_message, too_few_nodes_message
from braft_core.raft.types import Server

FACTS = BootstrapFacts("me", "10.0.0.1:15000", "c", 2)


@pytest.mark.parametrize(
    ("contact", "reason", "shown"),
    [
        (Contact("h", 1), "cannot connect to h:1", "h:1 (cannot connect)"),
        (Contact("::1", 1), "cannot connect to [::1]:1", "[::1]:1 (cannot connect)"),
        (Contact("h", 1), "h:1: no answer within 1 s", "h:1 (no answer within 1 s)"),
        (Contact("h", 1), "h:1 refuses the token", "h:1 (refuses the token)"),
        (Contact("h", 1), "cannot connect to other:2", "h:1 (cannot connect to other:2)"),
    ],
)
def test_an_address_is_said_once(contact: Contact, reason: str, shown: str) -> None:
    sentence = too_few_nodes_message(FACTS, [], [(contact, reason)])
    assert sentence.endswith(f"; not answering: {shown}")


def test_the_message_of_a_removal_names_the_leader_and_the_way_back() -> None:
    leader = Server("x" * 90, "h:1")
    assert removed_message("c1", leader, rejoin_allowed=False) == (
        "this node was removed from cluster c1: its leader, h:1, does not count it. "
        "To rejoin, start it with an empty data directory"
    )
    assert removed_message("c1", leader, rejoin_allowed=True) == (
        "this node was silent for long and was removed from cluster c1: asking its leader, h:1, to "
        "rejoin"
    )
