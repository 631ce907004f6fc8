"""The committed descriptors agree with the ``.proto`` files."""

from __future__ import annotations

import base64
from dataclasses import fields

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

import braft_core.peer
from braft_core.proto import POOL, generate, message_class
from braft_core.proto.descriptors import DESCRIPTORS
from braft_core.transport.call_codec import METHODS


def parsed(data: bytes) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(data)


def test_the_generated_module_is_fresh() -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    fresh = generate.compile_descriptors()
    assert parsed(base64.b64decode(DESCRIPTORS)) == parsed(fresh), (
        "run: python -m braft_core.proto.generate"
    )


def test_rendering_keeps_every_byte() -> None:
    scope: dict[str, str] = {}
    exec(generate.render(bytes(range(256)) * 3), scope)  # noqa: S102 - our own generated code
    assert base64.b64decode(scope["DESCRIPTORS"]) == bytes(range(256)) * 3


def test_the_default_pool_of_the_application_is_left_alone() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("AppendEntriesRequest")
    assert POOL.FindMessageTypeByName("AppendEntriesRequest")


def test_every_peer_class_has_a_message_with_the_same_fields() -> None:
    classes = {*braft_core.peer.REPLIES.keys(), *braft_core.peer.REPLIES.values()}
    for cls in sorted(classes, key=lambda c: c.__name__):
        names = [f.name for f in message_class(f"braft.v1.{cls.__name__}").DESCRIPTOR.fields]
        assert names == [f.name for f in fields(cls)]


def test_every_peer_request_has_its_method() -> None:
    service = POOL.FindServiceByName("braft.v1.Peer")
    assert {m.name: (m.input_type.name, m.output_type.name) for m in service.methods} == {
        name: (kind.__name__, braft_core.peer.REPLIES[kind].__name__)
        for name, kind in METHODS.items()
    }


def test_the_raft_service_has_the_public_methods() -> None:
    service = POOL.FindServiceByName("RaftTransport")
    assert [m.name for m in service.methods] == [
        "AppendEntriesPipeline",
        "AppendEntries",
        "RequestVote",
        "TimeoutNow",
        "InstallSnapshot",
        "RequestPreVote",
    ]
