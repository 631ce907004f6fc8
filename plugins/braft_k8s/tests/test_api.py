"""Requests, results and failures, against an API server in the test."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
from kubernetes.config import ConfigException

from braft_core.abc import Contact, Discovery
from braft_core.errors import Unreachable
from braft_k8s.api import KubeApi
from braft_k8s.discovery import K8sDiscovery
from braft_k8s.options import K8sOptions
from braft_testing.discovery import DiscoveryConformance, discovery_context

T = TypeVar("T")
BRAFT = {"app": "braft"}


class Api(Protocol):
    port: int
    requests: list[tuple[str, str, str]]
    failure: tuple[int, bytes] | None
    answering: Any
    server: Any
    objects: dict[tuple[str, str], list[dict[str, Any]]]

    def service(
        self, labels: dict[str, str], selector: dict[str, str] | None, namespace: str = "prod"
    ) -> None: ...
    def pod(self, ip: str, labels: dict[str, str], **more: Any) -> dict[str, Any]: ...
    def changed(self) -> None: ...
    def wait_idle(self) -> None: ...


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def k8s(kubeconfig: Path | str, spec: str = "svc=braft", **options: Any) -> K8sDiscovery:
    quick = {"poll_interval": 0.01, "request_timeout": 20.0}
    context = discovery_context(environ={"KUBECONFIG": str(kubeconfig)}, options=quick | options)
    return K8sDiscovery(spec, context)


async def found(discovery: Discovery) -> list[str]:
    try:
        await discovery.start()
        return [str(contact) for contact in await discovery.discover()]
    finally:
        await discovery.stop()


class TestConformance(DiscoveryConformance):
    bad_specs: ClassVar[dict[str, str]] = {"braft": "'braft'", "namespace=A_b,x=y": "'A_b'"}

    @pytest.fixture(autouse=True)
    def _with_api(self, api: Api, kubeconfig: Path) -> None:
        api.service({"svc": "braft"}, BRAFT)
        api.pod("10.0.0.1", BRAFT)
        api.pod("10.0.0.2", BRAFT)
        self.api, self.kubeconfig = api, kubeconfig

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the API server's threads, which end when they see the client go."""
        try:
            return super().run(main)
        finally:
            self.api.wait_idle()

    def make(self) -> Discovery:
        return k8s(self.kubeconfig)

    def make_failing(self) -> Discovery | None:
        return k8s(self.kubeconfig.with_name("nothing-here"))

    def make_with_spec(self, spec: str) -> Discovery:
        return k8s(self.kubeconfig, spec)


def test_services_by_label_then_their_pods(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft", "tier": "a"}, BRAFT)
    api.service({"svc": "braft", "tier": "b"}, {"app": "more"})
    api.service({"svc": "web"}, {"app": "web"})
    for ip, app in (("10.0.0.3", "braft"), ("10.0.0.1", "more"), ("10.0.0.9", "web")):
        api.pod(ip, {"app": app, "pod-template-hash": "x"})
    assert asyncio.run(found(k8s(kubeconfig))) == ["10.0.0.1:15000", "10.0.0.3:15000"]
    assert asyncio.run(found(k8s(kubeconfig, "tier=a,svc=braft"))) == ["10.0.0.3:15000"]
    assert api.requests[0] == ("/api/v1/namespaces/prod/services", "svc=braft", "Bearer t0ken")
    assert api.requests[1][:2] == ("/api/v1/namespaces/prod/pods", "app=braft")
    assert api.requests[-2][1] == "svc=braft,tier=a"


def test_pods_are_not_asked_whether_they_are_ready(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft"}, BRAFT)
    pod = api.pod("10.0.0.1", BRAFT)
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    api.pod("10.0.0.2", BRAFT, terminating=True)
    api.pod("10.0.0.3", BRAFT, phase="Pending")
    api.pod("", BRAFT)
    assert asyncio.run(found(k8s(kubeconfig))) == ["10.0.0.1:15000"]


def test_port_name(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft"}, BRAFT)
    api.pod("10.0.0.1", BRAFT, ports={"web": 80, "raft": 16000})
    api.pod("10.0.0.2", BRAFT, ports={"web": 80})
    assert asyncio.run(found(k8s(kubeconfig, "svc=braft,portname=raft"))) == ["10.0.0.1:16000"]


def test_a_service_without_selector_has_no_pods(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft"}, None)
    api.service({"svc": "braft"}, {})
    api.pod("10.0.0.1", BRAFT)
    assert asyncio.run(found(k8s(kubeconfig))) == []
    assert len(api.requests) == 1


def test_both_families(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft"}, BRAFT)
    api.pod("fd00::1", BRAFT, more_ips=("10.0.0.1",))
    assert asyncio.run(found(k8s(kubeconfig))) == ["10.0.0.1:15000"]


@pytest.mark.parametrize(
    ("spec", "options", "namespace"),
    [
        ("svc=braft", {}, "prod"),
        ("svc=braft,namespace=blue", {}, "blue"),
        ("svc=braft", {"namespace": "green"}, "green"),
        ("svc=braft", {"context": "bare"}, "default"),
    ],
)
def test_namespace(
    api: Api, kubeconfig: Path, spec: str, options: dict[str, Any], namespace: str
) -> None:
    api.service({"svc": "braft"}, BRAFT, namespace=namespace)
    api.pod("10.0.0.1", BRAFT, namespace=namespace)
    assert asyncio.run(found(k8s(kubeconfig, spec, **options))) == ["10.0.0.1:15000"]


def test_without_labels_every_service_counts(
    api: Api, kubeconfig: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api.service({"svc": "x"}, BRAFT)
    api.pod("10.0.0.1", BRAFT)
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(found(k8s(kubeconfig, ""))) == ["10.0.0.1:15000"]
    assert "K8S_LABELS" in caplog.text


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((403, b"{}"), "403 Forbidden; the service account needs the verbs list"),
        ((401, b""), "401 Unauthorized; the service account"),
        ((500, b"oops"), "500 Internal Server Error$"),
        ((200, b"not json"), "k8s: the request to the API failed"),
        ((200, b'{"items": null}'), "k8s: the request to the API failed"),
    ],
)
def test_a_failing_api_is_not_an_empty_cluster(
    api: Api, kubeconfig: Path, failure: tuple[int, bytes], message: str
) -> None:
    api.failure = failure
    with pytest.raises(Unreachable, match=message):
        asyncio.run(found(k8s(kubeconfig)))


def test_an_api_that_is_gone(kubeconfig: Path, api: Api) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        text = kubeconfig.read_text().replace(str(api.port), str(port))
        kubeconfig.write_text(text)
        with pytest.raises(Unreachable, match="k8s: the request to the API failed"):
            asyncio.run(found(k8s(kubeconfig)))


def test_an_api_that_hangs_is_left_after_the_timeout(api: Api, kubeconfig: Path) -> None:
    api.answering.clear()
    began = time.monotonic()
    with pytest.raises(Unreachable, match="timed out"):
        asyncio.run(found(k8s(kubeconfig, request_timeout=0.2)))
    assert time.monotonic() - began < 20, "and not as long as it hangs"


def test_a_failure_passes(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft"}, BRAFT)
    api.pod("10.0.0.1", BRAFT)

    async def main() -> list[Contact]:
        discovery = k8s(kubeconfig)
        api.failure = (503, b"")
        with pytest.raises(Unreachable):
            await discovery.discover()
        api.failure = None
        try:
            return await discovery.discover()
        finally:
            await discovery.stop()

    assert [str(contact) for contact in asyncio.run(main())] == ["10.0.0.1:15000"]


def test_no_cluster_at_all(tmp_path: Path) -> None:
    context = discovery_context(environ={"HOME": str(tmp_path)})
    with pytest.raises(Unreachable, match="no access to a cluster"):
        asyncio.run(found(K8sDiscovery("svc=braft", context)))


def test_a_kubeconfig_that_is_half_written(kubeconfig: Path) -> None:
    """Read the credentials while they are being replaced; the next poll succeeds."""
    whole = kubeconfig.read_text()
    for text in [*(whole[:size] for size in range(0, len(whole), 31)), "[]", "1", "a: b", "\0"]:
        kubeconfig.write_text(text)
        with pytest.raises(Unreachable, match="no access to a cluster") as refused:
            asyncio.run(found(k8s(kubeconfig)))
        assert "t0ken" not in str(refused.value)


def test_after_stop_nothing_is_asked(api: Api, kubeconfig: Path) -> None:
    async def main() -> None:
        discovery = k8s(kubeconfig)
        await discovery.stop()
        with pytest.raises(Unreachable, match="stopped"):
            await discovery.discover()

    asyncio.run(main())
    assert not api.requests


def test_watch_sees_pods_come_and_go(api: Api, kubeconfig: Path) -> None:
    api.service({"svc": "braft"}, BRAFT)
    api.pod("10.0.0.1", BRAFT)

    async def main() -> list[int]:
        discovery = k8s(kubeconfig)
        sizes: list[int] = []
        async for found in discovery.watch():
            if not sizes or sizes[-1] != len(found):
                sizes.append(len(found))
                if len(sizes) == 1:
                    api.pod("10.0.0.2", BRAFT)
                elif len(sizes) == 2:
                    api.objects["pods", "prod"].pop()
                    api.changed()
                else:
                    break
        await discovery.stop()
        return sizes

    assert asyncio.run(asyncio.wait_for(main(), 40)) == [1, 2, 1]


def test_sleeps_before_the_first_look(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr("braft_k8s.discovery.asyncio.sleep", note)
    asyncio.run(found(k8s(kubeconfig, sleep=(15.0, 30.0))))
    assert len(slept) == 1
    assert 15 <= slept[0] <= 30


@pytest.mark.optional
def test_inside_a_pod(api: Api, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("a server certificate needs the command openssl")
    account = tmp_path / "serviceaccount"
    account.mkdir()
    _certificate(account / "ca.crt", tmp_path / "key.pem")
    (account / "token").write_text("p0d")
    (account / "namespace").write_text("prod\n")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(account / "ca.crt", tmp_path / "key.pem")
    api.server.socket = tls.wrap_socket(api.server.socket, server_side=True)
    api.service({"svc": "braft"}, BRAFT)
    api.pod("10.0.0.1", BRAFT)
    context = discovery_context(
        environ={
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api.port),
        },
        options={"service_account": str(account)},
    )
    assert asyncio.run(found(K8sDiscovery("svc=braft", context))) == ["10.0.0.1:15000"]
    assert api.requests[0][2] == "bearer p0d"


def _certificate(certificate: Path, key: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip


def test_a_token_that_cannot_be_read_again_is_an_api_that_cannot_be_reached(
    api: Api, kubeconfig: Path
) -> None:
    def reread(_: object) -> None:
        raise ConfigException("Token file exists but empty.")

    connected = KubeApi.connect(K8sOptions(kubeconfig=str(kubeconfig)), {})
    connected._client.configuration.refresh_api_key_hook = reread
    with pytest.raises(Unreachable, match="exists but empty"):
        connected.selectors({"svc": "braft"})
    with pytest.raises(Unreachable, match="exists but empty"), connected.watch("pods", {}):
        pass
    connected.close()
