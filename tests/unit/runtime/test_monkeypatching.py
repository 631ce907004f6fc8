"""A node does not start when gevent or eventlet has replaced threads or sockets."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from braft_core import Node
from braft_core.errors import ConfigError
from braft_core.runtime.monkeypatching import check_not_monkeypatched


def test_the_standard_library_s_own_are_accepted() -> None:
    check_not_monkeypatched()


@pytest.mark.parametrize(
    ("module", "question"),
    [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")],
)
def test_what_was_replaced_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, module: str, question: str
) -> None:
    patched = {"socket", "select", "ssl", "os"}
    library = SimpleNamespace(**{question: patched.__contains__})
    monkeypatch.setitem(sys.modules, module, library)
    name = module.partition(".")[0]
    with pytest.raises(ConfigError, match=f"{name} has replaced socket, select of") as refused:
        Node(data_dir=":memory:", discovery="none", rport=0).start()
    assert refused.value.data == {"library": name, "replaced": ["socket", "select"]}
    assert "braft_core.client.Client" in refused.value.message
    patched -= {"socket", "select"}
    check_not_monkeypatched()


def test_a_library_that_cannot_say_is_taken_for_one_that_replaced_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace())
    check_not_monkeypatched()
