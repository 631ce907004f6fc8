"""Which scheme a discovery text names."""

from __future__ import annotations

import pytest

from braft_core.config import split_discovery


@pytest.mark.parametrize(
    ("text", "scheme", "spec"),
    [
        ("mdns", "mdns", ""),
        ("mdns:_braft._tcp", "mdns", "_braft._tcp"),
        ("static:a,b,c", "static", "a,b,c"),
        ("a,b,c", "static", "a,b,c"),
        ("host1", "static", "host1"),
        ("host1:15000", "static", "host1:15000"),
        ("host1:15000,host2:15000", "static", "host1:15000,host2:15000"),
        ("a,b:15000", "static", "a,b:15000"),
        ("192.168.6.240:15001,192.168.6.240:16001", "static", None),
        (":15001,:16001", "static", None),
        ("[fd00::1]:15000,[fd00::2]", "static", None),
        ("fd00::1,fd00::2", "static", None),
        ("k8s", "k8s", ""),
        ("k8s:namespace=n,portname=p,a=b", "k8s", "namespace=n,portname=p,a=b"),
        ("consul:8500", "consul", "8500"),
        ("etcd:host:2379", "etcd", "host:2379"),
        ("other:9", "static", "other:9"),
    ],
)
def test_split(text: str, scheme: str, spec: str | None) -> None:
    assert split_discovery(text, ["consul"]) == (scheme, text if spec is None else spec)
