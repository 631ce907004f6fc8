"""The discovery with a real kube-apiserver and etcd; the tests act for the missing kubelet.

The server is taken from ``BRAFT_KUBE_APISERVER`` or the user's cache; without one these tests are
skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from braft_core.abc import Contact
from braft_k8s.discovery import K8sDiscovery
from braft_testing.discovery import discovery_context
from braft_testing.processes import ProcessCluster, free_ports, wait_for

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

pytestmark = [
    pytest.mark.integration,
    pytest.mark.optional,
    pytest.mark.xdist_group("kube-apiserver"),
]

HOST = "127.0.0.1"
MANIFESTS = Path(__file__).parents[3] / "deploy" / "kubernetes" / "base"
LABELS = {"app.kubernetes.io/name": "braft"}
_MASTER = "master-token"


@dataclass(frozen=True)
class Cluster:
    """The API server; ``kubeconfig`` belongs to its administrator."""

    kubeconfig: Path
    core: CoreV1Api

    def kubectl(self, *arguments: str) -> str:
        command = [shutil.which("kubectl") or "", "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pod(self, name: str, ip: str, port: int = 15000) -> None:
        """Create a pod and report it running, as a kubelet would; it is not ready."""
        ports = [{"name": "raft", "containerPort": port}]
        pod: Any = {  # the client takes the API's JSON as well as its own classes
            "metadata": {"name": name, "labels": LABELS},
            "spec": {"containers": [{"name": "braft", "image": "braft", "ports": ports}]},
        }
        self.core.create_namespaced_pod("default", pod)
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        self.core.patch_namespaced_pod_status(name, "default", {"status": status})

    def remove(self, name: str) -> None:
        self.core.delete_namespaced_pod(name, "default", grace_period_seconds=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    program, etcd = _apiserver(), _etcd()
    for tool in ("kubectl", "openssl"):
        if not shutil.which(tool):
            pytest.skip(f"needs the command {tool}")
    directory = tmp_path_factory.mktemp("kube")
    with ExitStack() as stack:
        yield _start(stack, directory, program, etcd)


@pytest.fixture
def cluster(server: Cluster) -> Iterator[Cluster]:
    """Provide the API server with the manifests applied, and without pods."""
    server.kubectl("apply", "-k", str(MANIFESTS))
    yield server
    server.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")


def _apiserver() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "braft" / "kube" / "kube-apiserver"
    program = os.environ.get("BRAFT_KUBE_APISERVER") or str(built)
    if not os.access(program, os.X_OK):
        pytest.skip(f"no kube-apiserver: {program} is no program; see docs/kubernetes.md")
    return program


def _etcd() -> str:
    beside = Path(sys.executable).with_name("etcd")
    program = shutil.which("etcd") or (str(beside) if beside.exists() else "")
    if not program:
        pytest.skip("no etcd: neither on the PATH nor beside Python")
    return program


def _start(stack: ExitStack, directory: Path, program: str, etcd: str) -> Cluster:
    client, peer, secure = free_ports(3)
    store, other = f"http://{HOST}:{client}", f"http://{HOST}:{peer}"
    run = _runner(stack, directory)
    run([etcd, "--data-dir", str(directory / "etcd"),
         "--listen-client-urls", store, "--advertise-client-urls", store,
         "--listen-peer-urls", other, "--initial-advertise-peer-urls", other,
         "--initial-cluster", f"default={other}"])  # fmt: skip
    key = str(directory / "sa.key")
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    tokens = directory / "tokens.csv"
    tokens.write_text(f"{_MASTER},master,1,system:masters\n")
    run([program, f"--etcd-servers={store}", f"--bind-address={HOST}",
         f"--advertise-address={HOST}", f"--secure-port={secure}",
         f"--cert-dir={directory}", f"--token-auth-file={tokens}",
         f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
         "--service-account-issuer=https://braft.test", "--authorization-mode=RBAC",
         # Its controller does not run, so no pod could be created.
         "--disable-admission-plugins=ServiceAccount",
         "--service-cluster-ip-range=10.96.0.0/16"])  # fmt: skip
    kubeconfig = _kubeconfig(directory, f"https://{HOST}:{secure}", _MASTER)
    wait_for(partial(_ready, kubeconfig), what="the API server is ready")
    return Cluster(kubeconfig, _client(kubeconfig))


def _runner(stack: ExitStack, directory: Path) -> Callable[[list[str]], None]:
    def run(command: list[str]) -> None:
        log = stack.enter_context((directory / f"{Path(command[0]).name}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
        stack.callback(process.wait, 30)
        stack.callback(process.kill)

    return run


def _kubeconfig(directory: Path, url: str, token: str) -> Path:
    where = {"server": url, "certificate-authority": str(directory / "apiserver.crt")}
    path = directory / f"{token}.kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": where}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


def _client(kubeconfig: Path) -> CoreV1Api:
    from kubernetes.client import ApiClient, Configuration, CoreV1Api
    from kubernetes.config import load_kube_config

    configuration = Configuration()
    configuration.retries = 0
    load_kube_config(  # type: ignore[no-untyped-call]
        config_file=str(kubeconfig), client_configuration=configuration, persist_config=False
    )
    return CoreV1Api(ApiClient(configuration))


def _ready(kubeconfig: Path) -> bool:
    """Return whether the server is ready: the default roles exist only then."""
    command = [shutil.which("kubectl") or "", "--kubeconfig", str(kubeconfig)]
    done = subprocess.run(
        [*command, "get", "--raw", "/readyz"], capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


def discovery(kubeconfig: Path, **options: Any) -> K8sDiscovery:
    context = discovery_context(environ={"KUBECONFIG": str(kubeconfig)}, options=options)
    return K8sDiscovery("svc=braft", context)


def test_the_manifests_are_accepted(server: Cluster) -> None:
    output = server.kubectl("apply", "--dry-run=server", "-k", str(MANIFESTS))
    for what in ("statefulset.apps/braft", "poddisruptionbudget.policy/braft", "service/braft"):
        assert (
            f"{what} created" in output or f"{what} unchanged" in output or f"{what} conf" in output
        )


def test_the_role_is_enough_and_no_more(cluster: Cluster) -> None:
    """Use the token of the service account, which may list and watch, nothing else."""
    token = cluster.kubectl("create", "token", "braft").strip()
    cluster.pod("braft-0", "10.0.0.1")
    kubeconfig = json.loads(cluster.kubeconfig.read_text())
    account = _kubeconfig(
        cluster.kubeconfig.parent, kubeconfig["clusters"][0]["cluster"]["server"], "sa"
    )
    account.write_text(account.read_text().replace('"sa"', json.dumps(token)))
    assert asyncio.run(_watched(discovery(account), 1)) == [Contact("10.0.0.1", 15000, "k8s")]
    rules = cluster.kubectl(
        "auth", "can-i", "--list", "--as", "system:serviceaccount:default:braft"
    )
    granted = [line.split() for line in rules.splitlines() if "[list watch]" in line]
    assert sorted(line[0] for line in granted) == ["pods", "services"]
    assert "secrets" not in rules


def test_watch_follows_pods(cluster: Cluster) -> None:
    async def main() -> list[int]:
        # No poll without a change in the time of this test.
        found = discovery(cluster.kubeconfig, resync=300.0, poll_interval=300.0)
        sizes: list[int] = []
        try:
            async with asyncio.timeout(40):
                async for contacts in found.watch():
                    if sizes[-1:] == [len(contacts)]:
                        continue
                    sizes.append(len(contacts))
                    match sizes:
                        case [0]:
                            await asyncio.to_thread(cluster.pod, "braft-0", "10.0.0.1")
                        case [0, 1]:
                            await asyncio.to_thread(cluster.pod, "braft-1", "10.0.0.2")
                        case [0, 1, 2]:
                            await asyncio.to_thread(cluster.remove, "braft-0")
                        case _:
                            break
        finally:
            await found.stop()
        return sizes

    assert asyncio.run(main()) == [0, 1, 2, 1]


async def _watched(found: K8sDiscovery, size: int) -> list[Contact]:
    """Return the first set of that size that the watch yields."""
    try:
        async with asyncio.timeout(40):
            async for contacts in found.watch():
                if len(contacts) == size:
                    return contacts
    finally:
        await found.stop()
    raise AssertionError("watch() ended by itself")


def test_three_nodes_form_a_cluster(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run pods that share the address of this machine; the named port distinguishes them."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("PYTHONPATH", _with_plugin(tmp_path / "path"))
    with ProcessCluster(
        3, tmp_path, discovery="k8s:svc=braft,portname=raft", expect=3, k8s_namespace="default"
    ) as nodes:
        for node in nodes.nodes:
            cluster.pod(f"braft-{node.index}", HOST, node.raft_port)
        nodes.start()
        for node in nodes.nodes:
            wait_for(partial(_is_ready, node.http_port), what=f"node {node.index} is ready")


def _with_plugin(directory: Path) -> str:
    """Return a PYTHONPATH on which nodes find this plugin if it is not installed."""
    path = [os.environ.get("PYTHONPATH", "")]
    if "k8s" not in entry_points(group="braft").names:
        project = Path(__file__).parents[1]
        metadata = directory / "braft_k8s-0.1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: braft-k8s\nVersion: 0.1.0\n"
        )
        (metadata / "entry_points.txt").write_text("[braft]\nk8s = braft_k8s\n")
        path += [str(directory), str(project / "src")]
    return os.pathsep.join(filter(None, path))


def _is_ready(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
