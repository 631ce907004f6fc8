"""Specs, settings and the choice of pods, without an API."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import braft_k8s
from braft_core.errors import ConfigError
from braft_k8s.discovery import K8sDiscovery
from braft_k8s.options import K8sOptions
from braft_k8s.pods import Pod, contacts_of, selector_text
from braft_testing.discovery import discovery_context

FROM_SETTINGS = {"namespace": "n1", "labels": "a=1,b=2", "portname": "p1", "sleep": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("spec", "namespace", "labels", "portname"),
    [
        ("", "n1", {"a": "1", "b": "2"}, "p1"),
        ("namespace=n2", "n2", {"a": "1", "b": "2"}, "p1"),
        ("PortName=p2, Namespace=n2", "n2", {"a": "1", "b": "2"}, "p2"),
        ("svc=braft", "n1", {"svc": "braft"}, "p1"),
        (
            "namespace=n2,portname=p2,app.kubernetes.io/name=braft,tier=",
            "n2",
            {"app.kubernetes.io/name": "braft", "tier": ""},
            "p2",
        ),
    ],
)
def test_spec_over_settings(
    spec: str, namespace: str, labels: dict[str, str], portname: str
) -> None:
    options = K8sOptions.merged(spec, FROM_SETTINGS)
    assert (options.namespace, options.labels, options.portname) == (namespace, labels, portname)
    assert options.sleep == (1.0, 2.0)


def test_labels_may_be_a_table() -> None:
    assert K8sOptions.merged("", {"labels": {"a": "1"}}).labels == {"a": "1"}


BAD_SPECS = {
    "braft": "'braft'",
    "namespace=Prod_1": "'Prod_1'",
    "portname=a_b": "'a_b'",
    "portname=sixteen-letters-x": "'sixteen-letters-x'",
    "=x": "'=x'",
    "a b=c": "'a b'",
    "a=b c": "'b c'",
}


@pytest.mark.parametrize(("spec", "part"), BAD_SPECS.items())
def test_bad_specs_are_named(spec: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        K8sDiscovery(spec, discovery_context())
    assert part in caught.value.message
    assert f"k8s:{spec}" in caught.value.message


@pytest.mark.parametrize(
    ("options", "path", "hint"),
    [
        ({"lables": "a=b"}, "plugins.k8s.lables", "did you mean labels?"),
        ({"labels": "a"}, "plugins.k8s.labels='a'", "key=value"),
        ({"labels": {"a b": "c"}}, "plugins.k8s.labels", "'a b'"),
        ({"labels": 5}, "plugins.k8s.labels=5", "accepted: label=value"),
        ({"namespace": "A"}, "plugins.k8s.namespace='A'", "namespace"),
        ({"portname": "-"}, "plugins.k8s.portname='-'", "port name"),
        ({"sleep": [2, 1]}, "plugins.k8s.sleep=[2, 1]", "begins above its end"),
        ({"sleep": "1"}, "plugins.k8s.sleep='1'", "a duration or a range of two"),
        ({"sleep": True}, "plugins.k8s.sleep=True", "a bool is not a duration"),
        ({"poll_interval": 0}, "plugins.k8s.poll_interval=0", "longer than 0"),
        ({"request_timeout": -1}, "plugins.k8s.request_timeout=-1", "not negative"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], path: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        K8sDiscovery("", discovery_context(options=options))
    assert path in caught.value.message
    assert hint in caught.value.message


def test_describes_itself_as_the_original() -> None:
    text = K8sDiscovery("namespace=footstone-common,svc=braft", discovery_context()).describe()
    assert text == "k8s://ns=footstone-common/labels=svc=braft/portName="


def pod(*addresses: str, phase: str = "Running", terminating: bool = False, **ports: int) -> Pod:
    return Pod("x", addresses, phase, terminating, ports)


@pytest.mark.parametrize(
    ("pods", "portname", "found"),
    [
        ([pod("10.0.0.2"), pod("10.0.0.1")], "", ["10.0.0.1:15000", "10.0.0.2:15000"]),
        ([pod("10.0.0.1"), pod("10.0.0.1")], "", ["10.0.0.1:15000"]),
        ([pod("10.0.0.1", phase="Pending"), pod("10.0.0.2", phase="Succeeded")], "", []),
        ([pod("10.0.0.1", terminating=True)], "", []),
        ([pod()], "", []),
        ([pod("10.0.0.1", raft=16000), pod("10.0.0.2")], "raft", ["10.0.0.1:16000"]),
        ([pod("10.0.0.1", http=15002)], "http", ["10.0.0.1:15000"]),
        ([pod("10.0.0.1", raft=16000)], "", ["10.0.0.1:15000"]),
        ([pod("fd00::1", "10.0.0.1")], "", ["10.0.0.1:15000"]),
        ([pod("fd00::1")], "", ["[fd00::1]:15000"]),
    ],
)
def test_which_pods_are_contacts(pods: list[Pod], portname: str, found: list[str]) -> None:
    contacts = contacts_of(pods, discovery_context(), portname, "k8s")
    assert [str(contact) for contact in contacts] == found


def test_selector() -> None:
    assert selector_text({"b": "2", "a": ""}) == "a=,b=2"
    assert selector_text({}) == ""


def test_the_client_is_loaded_only_when_it_is_needed() -> None:
    code = (
        "import sys, braft_k8s\n"
        "from braft_testing.discovery import discovery_context as context\n"
        "braft_k8s.braft_register_discovery()('svc=braft', context())\n"
        "sys.exit('kubernetes' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_hook() -> None:
    assert braft_k8s.braft_register_discovery() is K8sDiscovery
    assert hasattr(braft_k8s.braft_register_discovery, "braft_impl")
