"""Serializers by tag and name, and the errors for unknown ones."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from braft_core.abc import Serializer
from braft_core.errors import DecodeError, PluginConflict, PluginNotFound
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.registry import RESERVED_TAGS, Serializers


class Other(Serializer):
    name: ClassVar[str] = "other"
    tag: ClassVar[int] = 77

    def dumps(self, value: Any) -> bytes:
        return b"other"

    def loads(self, data: bytes) -> Any:
        return "other"


class SameTag(Other):
    name = "third"


class SameName(Other):
    tag = 78


def test_finds_by_tag_and_by_name() -> None:
    msgpack, other = MsgpackSerializer(), Other()
    serializers = Serializers([msgpack, other])
    assert serializers.by_tag(1) is msgpack
    assert serializers.by_tag(77) is other
    assert serializers.by_name("other") is other


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        (2, r"tag 2, .*installed: msgpack \(tag 1\); it is that of 'cbor': pip install braft-seri"),
        (3, "it is that of 'json': pip install braft-serializers"),
        (200, "tag 200, .*install the plugin that provided it"),
    ],
)
def test_unknown_tag_says_what_would_mend_it(tag: int, words: str) -> None:
    with pytest.raises(DecodeError, match=words) as caught:
        Serializers([MsgpackSerializer()]).by_tag(tag)
    assert caught.value.data == {"tag": tag}


def test_unknown_name_lists_the_installed() -> None:
    with pytest.raises(PluginNotFound, match=r"'cbor' is installed; installed: msgpack \(tag 1\)"):
        Serializers([MsgpackSerializer()]).by_name("cbor")


def test_two_with_one_tag_or_name_are_a_conflict() -> None:
    with pytest.raises(PluginConflict, match="the tag 77"):
        Serializers([Other(), SameTag()])
    with pytest.raises(PluginConflict, match="the name 'other'"):
        Serializers([Other(), SameName()])


def test_msgpack_has_the_tag_that_is_reserved_for_it() -> None:
    assert RESERVED_TAGS[MsgpackSerializer.tag] == (MsgpackSerializer.name, "braft-core")
