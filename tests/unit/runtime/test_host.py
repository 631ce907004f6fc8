"""What a running node refuses before anything is sent."""

from __future__ import annotations

import pytest

from braft_core import Node
from braft_core.errors import InvalidRequest, NotApplied


@pytest.fixture
def node() -> Node:
    return Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)


def test_an_unknown_consistency_is_a_request_that_is_not_worth_repeating(node: Node) -> None:
    with node, pytest.raises(InvalidRequest, match="accepted: linearizable, lease") as caught:
        node.query("kv", "get", "m", "k", consistency="leas")
    assert isinstance(caught.value, NotApplied)
    assert not caught.value.safe_to_retry
    assert caught.value.data["value"] == "leas"
