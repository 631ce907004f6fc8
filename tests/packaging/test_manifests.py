"""The manifests of deploy/kubernetes agree with each other, with the image and with braft.

The plugin's test_real_api.py covers what an API server rejects. These tests cover what it accepts
although it does not work: a selector that matches nothing, a port without a listener, a probe of
a path that does not exist, a missing permission.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from braft_core.config import Settings
from braft_core.http import make_app
from braft_core.runtime.security_check import check_security, security_warning
from braft_core.runtime.timing import Timing
from braft_core.trusted_files import untrusted_reason

yaml: Any = pytest.importorskip("yaml", reason="comes with the kubernetes client")

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
SOURCE = ROOT / "plugins" / "braft_k8s" / "src" / "braft_k8s"


def objects() -> list[dict[str, Any]]:
    """Return what the kustomization lists, in its order."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [o for name in listed for o in yaml.safe_load_all((BASE / name).read_text())]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in objects() if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture
def workload() -> dict[str, Any]:
    spec: dict[str, Any] = one("StatefulSet", "braft")["spec"]
    return spec


@pytest.fixture
def pod(workload: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = workload["template"]
    return template


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    return dict(only)


@pytest.fixture
def variables(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def picks(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def test_every_file_is_listed() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == files


def test_every_selector_picks_the_pods(workload: dict[str, Any], pod: dict[str, Any]) -> None:
    labels = pod["metadata"]["labels"]
    services = [o for o in objects() if o["kind"] == "Service"]
    budget = one("PodDisruptionBudget", "braft")["spec"]
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    selectors = [
        workload["selector"]["matchLabels"],
        budget["selector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
        *(service["spec"]["selector"] for service in services),
    ]
    assert len(services) == 2
    assert all(picks(selector, labels) for selector in selectors)
    assert workload["replicas"] - budget["maxUnavailable"] > workload["replicas"] // 2


def test_the_nodes_find_each_other_before_they_are_ready(
    workload: dict[str, Any], variables: dict[str, str]
) -> None:
    wanted = dict(pair.split("=") for pair in variables["K8S_LABELS"].split(","))
    services = [o for o in objects() if o["kind"] == "Service"]
    (found,) = [s for s in services if picks(wanted, s["metadata"].get("labels", {}))]
    assert found["metadata"]["name"] == workload["serviceName"]
    assert found["spec"]["clusterIP"] == "None"
    assert found["spec"]["publishNotReadyAddresses"] is True
    assert workload["podManagementPolicy"] == "Parallel"
    # Discovery takes a pod's first port named "raft", or its only port.
    assert found["spec"]["ports"][0]["targetPort"] == "raft"


def test_ports_are_those_that_the_node_listens_on(
    container: dict[str, Any], variables: dict[str, str]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = {"raft": "BRAFT_RPORT", "discovery": "BRAFT_DPORT", "http": "BRAFT_HPORT"}
    assert ports == {name: int(variables[variable]) for name, variable in settings.items()}
    for service in (o for o in objects() if o["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"], service["metadata"]["name"]
    exposed = re.search(r"^EXPOSE (.+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.M)
    assert exposed is not None
    assert [int(port) for port in exposed[1].split()] == list(ports.values())


@pytest.mark.parametrize("name", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes_ask_what_is_served(container: dict[str, Any], name: str) -> None:
    get = container[name]["httpGet"]
    assert get["port"] == "http"
    assert get["path"] == ("/readyz" if name == "readinessProbe" else "/healthz")
    web = falcon.testing.TestClient(make_app(_Well()))  # type: ignore[arg-type]
    assert web.simulate_get(get["path"], host="10.0.0.7").status_code == 200, (
        "open without the token"
    )


class _Well:
    """The part of a healthy node that the probes use."""

    settings = Settings.load(kwargs={"token": "secret-secret-secret", "discovery": "none"})

    def ready(self) -> tuple[bool, str]:
        return True, ""

    def notes(self) -> dict[str, str]:
        return {}


def test_a_stop_ends_before_it_is_cut_short(pod: dict[str, Any], container: dict[str, Any]) -> None:
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    # The sum of all timeouts in NodeThreads.stop, with the HTTP port and five threads.
    timing = Timing()
    stop = timing.server_stop + 6 * timing.thread_join + 2.0
    assert stop > timing.hand_over + timing.drain
    assert float(seconds) + stop < pod["spec"]["terminationGracePeriodSeconds"]
    readiness = container["readinessProbe"]
    assert readiness["timeoutSeconds"] <= readiness["periodSeconds"]


def test_variables_are_settings_with_accepted_values(
    workload: dict[str, Any], variables: dict[str, str], tmp_path: Path
) -> None:
    known = {v.long for v in Settings.variables().values()}
    assert set(variables) <= known
    token = tmp_path / "token"
    token.touch(mode=0o600)
    given = variables | {"BRAFT_IP": "10.0.0.1", "BRAFT_TOKEN_FILE": str(token)}
    settings = Settings.load(environ=given)
    assert settings.insecure is True, "there is no TLS, and a token: that is asked for by name"
    assert (settings.discovery, settings.expect) == ("k8s", workload["replicas"])


def test_data_is_on_the_volume_and_belongs_to_the_user_of_the_image(
    workload: dict[str, Any],
    pod: dict[str, Any],
    container: dict[str, Any],
    variables: dict[str, str],
) -> None:
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    (claim,) = workload["volumeClaimTemplates"]
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert set(mounts) == volumes | {claim["metadata"]["name"]}
    assert Path(variables["BRAFT_DATA_DIR"]).is_relative_to(mounts[claim["metadata"]["name"]])
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.M)
    assert user is not None
    context = pod["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))
    assert context["fsGroup"] == int(user[2])


def test_the_role_has_what_discovery_calls_and_no_more(pod: dict[str, Any]) -> None:
    account, role = one("ServiceAccount", "braft"), one("Role", "braft-discovery")
    binding = one("RoleBinding", "braft-discovery")
    assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "braft"}]
    assert binding["roleRef"]["kind"] == "Role"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    source = "".join(path.read_text() for path in SOURCE.glob("*.py"))
    calls = set(re.findall(r"\b([a-z]+)_(?:namespaced_)(service|pod)\b", source))
    # A watch is a list request that stays open, but needs its own verb.
    assert calls == {("list", "service"), ("list", "pod")}
    assert "watch=True" in source
    (rule,) = role["rules"]
    assert rule["apiGroups"] == [""]
    assert sorted(rule["resources"]) == sorted(f"{kind}s" for _, kind in calls)
    assert sorted(rule["verbs"]) == ["list", "watch"]


# ------------------------------------------------------------------------------ who may connect


def mounted(pod: dict[str, Any], container: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the secret behind a path in the container."""
    (mount,) = [m for m in container["volumeMounts"] if Path(path).is_relative_to(m["mountPath"])]
    assert mount["readOnly"] is True
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
    secret: dict[str, Any] = volume["secret"]
    return secret


def test_the_token_is_a_secret_that_the_group_of_the_pod_reads(
    pod: dict[str, Any], container: dict[str, Any], variables: dict[str, str]
) -> None:
    secret = mounted(pod, container, variables["BRAFT_TOKEN_FILE"])
    assert secret["secretName"] == "braft-token"
    assert Path(variables["BRAFT_TOKEN_FILE"]).name == "token", "the key in the secret"
    # As Kubernetes mounts it: owned by root and by the pod's group, which has no other member.
    group = pod["spec"]["securityContext"]["fsGroup"]
    file = os.stat_result((stat.S_IFREG | secret["defaultMode"], 1, 1, 1, 0, group, 0, 0, 0, 0))
    assert untrusted_reason(file, secret=True) == ""
    assert "BRAFT_TOKEN" not in variables


def test_the_restricted_pod_security_standard_holds(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    spec, limits = pod["spec"], container["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert limits["allowPrivilegeEscalation"] is False
    assert limits["capabilities"] == {"drop": ["ALL"]}
    assert limits["readOnlyRootFilesystem"] is True
    allowed = {"emptyDir", "secret", "configMap", "projected"}
    assert {key for v in spec["volumes"] for key in v} - {"name"} <= allowed
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert container["resources"]["limits"]["memory"]
    tmp = next(v for v in spec["volumes"] if v["name"] == "tmp")
    assert tmp["emptyDir"]["sizeLimit"]


def test_the_raft_port_is_for_the_nodes_alone(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    policy = one("NetworkPolicy", "braft")["spec"]
    labels = pod["metadata"]["labels"]
    assert picks(policy["podSelector"]["matchLabels"], labels)
    assert policy["policyTypes"] == ["Ingress"]
    who: dict[str, list[dict[str, str]]] = {}
    for rule in policy["ingress"]:
        selectors = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
        assert all(selectors), "an empty selector picks everybody"
        assert all(set(peer) == {"podSelector"} for peer in rule["from"]), "of this namespace"
        for port in rule["ports"]:
            who.setdefault(port["port"], []).extend(selectors)
    assert set(who) == {port["name"] for port in container["ports"]}
    for name in ("raft", "discovery"):
        assert all(picks(selector, labels) for selector in who[name])
        assert len(who[name]) == 1
    assert not any(picks(selector, labels) for selector in who["http"])


# ------------------------------------------------------------------------------ with TLS

TLS = BASE.parent / "tls"


def overlay(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((TLS / name).read_text()))


@pytest.fixture
def patch() -> dict[str, Any]:
    """Return the pod with the additions of the TLS overlay."""
    (found,) = overlay("statefulset.yaml")
    base = one("StatefulSet", "braft")
    assert (found["kind"], found["metadata"]) == (base["kind"], {"name": "braft"})
    added: dict[str, Any] = found["spec"]["template"]
    return added


def test_the_overlay_adds_to_the_base() -> None:
    listed = yaml.safe_load((TLS / "kustomization.yaml").read_text())
    assert listed["resources"] == ["../base", "certificates.yaml"]
    assert listed["patches"] == [{"path": "statefulset.yaml"}]
    assert {path.name for path in TLS.iterdir()} == {
        "kustomization.yaml",
        "certificates.yaml",
        "statefulset.yaml",
    }


def test_nodes_have_what_cert_manager_makes(
    patch: dict[str, Any], variables: dict[str, str], pod: dict[str, Any], tmp_path: Path
) -> None:
    (container,) = patch["spec"]["containers"]
    assert container["name"] == pod["spec"]["containers"][0]["name"]
    tls = {entry["name"]: entry["value"] for entry in container["env"]}
    certificates = {o["metadata"]["name"]: o for o in overlay("certificates.yaml")}
    node = certificates["braft-node"]["spec"]
    for variable, key in (("CA", "ca.crt"), ("CERT", "tls.crt"), ("KEY", "tls.key")):
        path = tls[f"BRAFT_TLS_{variable}"]
        assert Path(path).name == key, "as cert-manager names them"
        secret = mounted(patch, container, path)
        assert secret["secretName"] == node["secretName"]
        assert not secret["defaultMode"] & 0o227
        tls[f"BRAFT_TLS_{variable}"] = str(tmp_path / key)
        (tmp_path / key).touch(mode=0o600)
    assert tls["BRAFT_TLS_SERVER_NAME"] in node["dnsNames"]
    assert tls["BRAFT_TLS_PEER_NAMES"] in node["dnsNames"]
    assert {"server auth", "client auth"} <= set(node["usages"])
    (ca,) = [o for o in overlay("certificates.yaml") if o["spec"].get("isCA")]
    issuers = [o for o in overlay("certificates.yaml") if o["kind"] == "Issuer"]
    (signing,) = [o for o in issuers if "ca" in o["spec"]]
    assert signing["metadata"]["name"] == node["issuerRef"]["name"]
    assert signing["spec"]["ca"]["secretName"] == ca["spec"]["secretName"]

    given = variables | tls | {"BRAFT_IP": "10.0.0.1"}
    token = tmp_path / "token"
    token.touch(mode=0o600)
    settings = Settings.load(environ=given | {"BRAFT_TOKEN_FILE": str(token)})
    assert settings.tls_mode == "require"
    assert settings.http_tls is True
    base = pod["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == base[probe]["httpGet"] | {"scheme": "HTTPS"}
    check_security(settings, "0.0.0.0")
    assert security_warning(settings, "0.0.0.0") == "", "nothing is left to warn of"


@pytest.mark.optional
def test_kubectl_can_build_both() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    for folder in (BASE, TLS):
        done = subprocess.run(
            [kubectl, "kustomize", str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        kinds = [o["kind"] for o in yaml.safe_load_all(done.stdout)]
        assert kinds.count("StatefulSet") == 1
        assert ("Certificate" in kinds) == (folder == TLS)
