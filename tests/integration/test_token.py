"""One token for the cluster, and the messages of a node with another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core import Node
from braft_core.tokens import Tokens
from braft_testing.internals import internals
from braft_testing.processes import PATIENCE, wait_for

pytestmark = pytest.mark.integration

TOKEN = "s3cret-s3cret-s3cret"
NEW = "new-s3cret-new-s3cret"


def test_nodes_of_one_token_form_and_serve(
    make_nodes: Callable[..., list[Node]], leader_of: Callable[[list[Node]], Node]
) -> None:
    nodes = make_nodes(2, token=TOKEN)
    follower = next(node for node in nodes if node is not leader_of(nodes))
    follower.kv.put("m", "k", 1)
    assert follower.kv.get("m", "k") == 1
    assert not any("error" in entry for entry in follower.cluster_view(PATIENCE)["nodes"])


def test_a_node_of_another_token_names_the_cause(
    make_nodes: Callable[..., list[Node]],
) -> None:
    nodes = make_nodes(
        2, start=False, token=lambda number: TOKEN if number else "other-other-other-other"
    )
    with nodes[0], nodes[1]:
        for node, other in (nodes, nodes[::-1]):
            wait_for(lambda node=node: "does not know the token" in node.ready()[1])  # type: ignore[misc]
            assert other.address in node.ready()[1]
            assert TOKEN not in node.ready()[1]


def test_a_member_whose_token_was_taken_away_is_out_and_says_why(
    make_nodes: Callable[..., list[Node]], leader_of: Callable[[list[Node]], Node]
) -> None:
    nodes = make_nodes(3, token=TOKEN)
    leader = leader_of(nodes)
    follower = next(node for node in nodes if node is not leader)
    follower.stop()
    with Node(follower.settings.model_copy(update={"token": None})) as again:
        wait_for(lambda: "asks for a token" in str(again.notes()) + again.ready()[1])
        leader.kv.put("m", "k", 1)
        assert not again.ready()[0]
        assert not again.is_leader


def test_the_token_is_changed_on_a_running_cluster(
    make_nodes: Callable[..., list[Node]],
    leader_of: Callable[[list[Node]], Node],
    tmp_path: Path,
) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    for file in files:
        _write(file, TOKEN)
    nodes = make_nodes(3, token_file=lambda number: files[number])
    written = 0

    def write() -> None:
        nonlocal written
        for node in nodes:
            node.kv.put("m", str(written), written, timeout=PATIENCE)
            written += 1

    # All nodes complete each step before the next: accept both, use the new one, drop the old.
    for tokens in ((TOKEN, NEW), (NEW, TOKEN), (NEW,)):
        for node, file in zip(nodes, files, strict=True):
            _write(file, *tokens)
            expected = Tokens.parse(",".join(tokens))
            wait_for(lambda node=node, expected=expected: _tokens(node) == expected)  # type: ignore[misc]
            write()
    leader = leader_of(nodes)
    assert len(leader.members()) == 3
    for node in nodes:
        assert node.kv.get("m", str(written - 1)) == written - 1
        assert node.ready()[0]


def _write(file: Path, *tokens: str) -> None:
    new = file.with_suffix(".new")
    new.touch(0o600)
    new.write_text("\n".join(tokens))
    new.replace(file)


def _tokens(node: Node) -> Tokens:
    return internals(node).threads.components.tokens.keyring.current
