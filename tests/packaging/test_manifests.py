"""The manifests of deploy/kubernetes agree with each other, with the image and with braft.

What an API server would refuse is left to the plugin's test_real_api.py; here is what it would take
and what would not work: a selector that picks nothing, a port that nobody listens on, a probe of a
path that does not exist, a right that is missing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from braft_core.config import Settings
from braft_core.http import make_app
from braft_core.runtime import host as runtime_host
from braft_core.runtime.engine import _DRAIN, _HAND_OVER

yaml: Any = pytest.importorskip("yaml", reason="comes with the kubernetes client")

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
SOURCE = ROOT / "plugins" / "braft_k8s" / "src" / "braft_k8s"


def objects() -> list[dict[str, Any]]:
    """What the kustomization lists, in its order."""
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
    # The first port of a pod that has the name "raft", or the only one, is what discovery takes.
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
    """As much of a node as the probes look at."""

    settings = Settings.load(kwargs={"token": "secret-secret-secret", "discovery": "none"})

    def ready(self) -> tuple[bool, str]:
        return True, ""

    def notes(self) -> dict[str, str]:
        return {}


def test_a_stop_ends_before_it_is_cut_short(pod: dict[str, Any], container: dict[str, Any]) -> None:
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    # What the steps of Host.stop are given at most, the HTTP port and five threads with it.
    stop = runtime_host._STOP_ENGINE + 6 * runtime_host._JOIN + 2.0
    assert stop > _HAND_OVER + _DRAIN
    assert float(seconds) + stop < pod["spec"]["terminationGracePeriodSeconds"]
    readiness = container["readinessProbe"]
    assert readiness["timeoutSeconds"] <= readiness["periodSeconds"]


def test_variables_are_settings_with_accepted_values(
    workload: dict[str, Any], variables: dict[str, str]
) -> None:
    known = {v.long for v in Settings.variables().values()}
    assert set(variables) <= known
    settings = Settings.load(environ=variables | {"BRAFT_IP": "10.0.0.1"})
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
    # A watch is a list that stays open, and a verb of its own.
    assert calls == {("list", "service"), ("list", "pod")}
    assert "watch=True" in source
    (rule,) = role["rules"]
    assert rule["apiGroups"] == [""]
    assert sorted(rule["resources"]) == sorted(f"{kind}s" for _, kind in calls)
    assert sorted(rule["verbs"]) == ["list", "watch"]
