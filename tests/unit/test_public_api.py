"""The public interface: exported names, async variants, a node's messages."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from braft_core import Node, errors
from braft_core.abc import NodeAPI
from braft_core.config import Settings
from braft_core.errors import InvalidRequest, Stopped
from braft_core.handles import Distribute, Session
from braft_core.kv import KV
from braft_core.node import _running_nodes, _warn_of_running_nodes
from braft_core.node_options import NodeOptions
from braft_core.store import Lease, Leases, NodeStore

#: The names of the public modules for users. Each other public module is for plugins.
EXPORTED = {
    "braft_core": """
        BraftError Busy CommandFailed ConfigError Conflict NoLeader Node NotApplied NotReady
        OutcomeUnknown Rejected StateMachineService Stopped TooLarge command command_type query
    """,
    "braft_core.abc": """
        CommandContext Consistency Contact Discovery DiscoveryContext FrontEnd Identity Leader
        Member NO_SNAPSHOT NodeAPI Readiness Serializer Service SlicedCapture SnapshotBackup
        SnapshotInfo SnapshotName SnapshotSink SnapshotStore Storage StorageOptions StoredState
        Suffrage TLSFiles Transport TransportHandler TransportOptions TransportTiming WriteBatch
        surplus
    """,
    "braft_core.client": """
        Client KVEntry Leader Member Page Readiness SavedSnapshot SnapshotInfo Trust
    """,
    "braft_core.recipes": """
        Claim Election ElectionLeader Guest Leadership Lock Observation Party PartyWatch
        RecipeStore Rendezvous Semaphore Transaction asingleton atransact
        singleton transact
    """,
    "braft_core.services": "StateMachineService command query",
    "braft_core.store": """
        Batch Change Condition Delete Entry Event Get Held Key Lease LeaseInfo Leases LeasingStore
        NodeStore Once Operation Piece Put Scan Store StoreStatus Txn TxnResult Watch Watcher
        Watchers
    """,
}

#: Methods that return at once: they read local state or register a callback.
_IMMEDIATE = {
    "close",
    "details",
    "election",
    "leadership",
    "lease",
    "lock",
    "members",
    "notes",
    "on_change",
    "on_leader_change",
    "party",
    "plugin_options",
    "rendezvous",
    "scan",
    "semaphore",
    "service",
    "session",
    "watch",
}

#: Public names that only braft's own modules use.
_FOR_BRAFT_ITSELF = {"braft_core.plugin.options": ["format_option"]}

_LIFECYCLE = {"start", "astart", "stop", "astop", "run", "arun"}


def _methods(cls: type) -> dict[str, Any]:
    found = inspect.getmembers(cls, inspect.isfunction)
    return {name: each for name, each in found if not name.startswith("_")}


@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_names_of_a_module_are_pinned(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(EXPORTED[name].split())


@pytest.mark.parametrize(
    "name",
    [
        *EXPORTED,
        "braft_core.addresses",
        "braft_core.errors",
        "braft_core.escaping",
        "braft_core.handles",
        "braft_core.http2",
        "braft_core.http2.grpc_aio",
        "braft_core.kv",
        "braft_core.peer",
        "braft_core.plugin",
        "braft_core.plugin.options",
        "braft_core.proof",
        "braft_core.raft",
        "braft_core.serializers",
        "braft_core.storage",
        "braft_core.tokens",
        "braft_core.transport",
        "braft_core.transport.grpc",
    ],
)
def test_a_public_module_exports_what_it_defines(name: str) -> None:
    module = importlib.import_module(name)
    missing = [each for each in module.__all__ if not hasattr(module, each)]
    assert missing == []
    assert len(set(module.__all__)) == len(module.__all__)
    inside = [each for each in _defined_in(module) if each not in module.__all__]
    assert inside == _FOR_BRAFT_ITSELF.get(name, [])


def _defined_in(module: ModuleType) -> list[str]:
    return [
        name
        for name, each in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(each) or inspect.isfunction(each))
        and each.__module__ == module.__name__
    ]


def test_every_error_is_exported_and_drawn_at_its_place() -> None:
    def walk(cls: type[errors.BraftError], depth: int) -> Iterator[tuple[int, str]]:
        yield depth, cls.__name__
        for sub in cls.__subclasses__():
            if sub.__module__ == errors.__name__:
                yield from walk(sub, depth + 1)

    assert errors.__doc__ is not None
    drawn = [
        ((len(line) - len(line.lstrip(" │├└─"))) // 4, found.group())
        for line in errors.__doc__.splitlines()
        if (found := re.search(r"(?<=─ )\w+|(?<=^    )BraftError", line))
    ]
    real = list(walk(errors.BraftError, 1))
    assert sorted(drawn) == sorted(real)
    assert {name for _, name in real} | {"from_wire", "to_wire"} == set(errors.__all__)


@pytest.mark.parametrize("cls", [Node, KV, NodeStore, Leases, Distribute, Session, NodeAPI])
def test_every_method_that_waits_has_an_async_variant(cls: type) -> None:
    methods = _methods(cls)
    asynchronous = {n for n, each in methods.items() if _is_async(each)}
    waiting = set(methods) - asynchronous - _IMMEDIATE
    assert {f"a{name}" for name in waiting} == asynchronous


@pytest.mark.parametrize("cls", [Node, KV, NodeStore, Lease, Leases, Distribute, Session, NodeAPI])
def test_an_async_variant_is_called_alike(cls: type) -> None:
    methods = _methods(cls)
    for name, method in methods.items():
        if _is_async(method):
            continue
        variant = methods.get(f"a{name}")
        if variant is None:
            continue
        plain, awaited = inspect.signature(method), inspect.signature(variant)
        # What is called by an async method may be asynchronous itself.
        called = {"function": awaited.parameters.get("function")}
        assert {**plain.parameters, **called} == {**awaited.parameters, **called}, name
        returned = str(plain.return_annotation).removeprefix("Iterator")
        assert returned == str(awaited.return_annotation).removeprefix("AsyncIterator"), name


def _is_async(method: Any) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def test_a_plugin_s_node_has_all_of_a_node_but_its_lifecycle() -> None:
    def public(cls: type) -> set[str]:
        return {name for name in {*dir(cls), *typing.get_type_hints(cls)} if name[0] != "_"}

    node = Node(discovery="none", data_dir=":memory:")
    of_a_node = public(Node) | {name for name in vars(node) if name[0] != "_"}
    assert of_a_node - _LIFECYCLE == public(NodeAPI)
    for name, method in _methods(NodeAPI).items():
        given = inspect.signature(getattr(Node, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in given] == [
            (p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()
        ], name


def test_the_keyword_arguments_of_a_node_are_the_settings() -> None:
    assert set(NodeOptions.__annotations__) | {"services"} == set(Settings.model_fields)


def test_the_types_of_the_keyword_arguments_are_those_of_the_settings() -> None:
    hints = typing.get_type_hints(NodeOptions)
    for name, info in Settings.model_fields.items():
        if name in ("services", "plugins"):
            continue
        accepted = set(_leaves(hints[name]))
        words = next(note.text for note in info.metadata if hasattr(note, "text"))
        literals = {each for each in accepted if isinstance(each, str)}
        if literals:
            assert literals == set(re.split(r", | or ", words)), name
            continue
        kept = set(_leaves(info.annotation)) - {type(None)}
        names = {getattr(each, "__name__", str(each)) for each in kept}
        assert {"SecretStr": "str"}.get(min(names), min(names)) in {
            getattr(each, "__name__", str(each)) for each in accepted
        }, name


def _leaves(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from typing.get_args(annotation)
    elif typing.get_args(annotation) and typing.get_origin(annotation) is not tuple:
        for each in typing.get_args(annotation):
            yield from _leaves(each)
    else:
        yield annotation


def _node() -> Node:
    return Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)


def test_a_node_says_in_which_state_it_is() -> None:
    node = _node()
    assert (node.state, repr(node)) == ("new", "<Node new>")
    with node:
        assert node.state == "running"
        assert repr(node) == f"<Node running at {node.address}, id {node.server_id}>"
        with pytest.raises(InvalidRequest, match=r"<Node running at .*> is running already"):
            node.start()
    assert (node.state, repr(node)) == ("stopped", "<Node stopped>")
    with pytest.raises(Stopped, match="was stopped and cannot start again"):
        node.start()


def test_a_node_that_is_never_stopped_is_reported() -> None:
    with _node() as node:
        assert node in _running_nodes
        with pytest.warns(ResourceWarning, match=r"<Node running at .*> was never stopped"):
            _warn_of_running_nodes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_of_running_nodes()


def test_a_timeout_is_more_than_zero_wherever_it_is_given() -> None:
    with _node() as node:
        node.wait_ready(40)
        calls = [
            lambda timeout: node.kv.put("m", "k", 1, timeout=timeout),
            lambda timeout: node.kv.get("m", "k", timeout=timeout),
            lambda timeout: node.kv.get_stale("m", "k", timeout=timeout),
            lambda timeout: node.distribute.assignment(timeout=timeout),
            node.barrier,
            node.wait_ready,
            node.cluster_view,
            node.take_snapshot,
            node.transfer_leadership,
        ]
        for call in calls:
            for timeout in (0, -1, "3s", True):
                with pytest.raises(InvalidRequest, match="timeout is"):
                    call(timeout=timeout)  # type: ignore[operator]


@pytest.mark.parametrize("value", ["gr\udcfcn", ["gr\udcfcn"], {"gr\udcfcn": 1}])
def test_text_that_is_not_unicode_is_an_invalid_request(value: Any) -> None:
    with _node() as node, pytest.raises(InvalidRequest, match="surrogates not allowed") as caught:
        node.kv.put("m", "k", value)
    assert caught.value.data["accepted"] == "text without lone surrogates"
