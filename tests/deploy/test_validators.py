"""Compose file, Dockerfile and chart pass their validators, and the chart refuses what could not work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "bifrost"
ORGANIZATIONS = {"organizations": {"content": "organizations: []\n"}}
KUBERNETES = ("1.32", "1.37")
NOT_KUBERNETES_OWN = {"ScaledObject", "ServiceMonitor"}
"""What has a schema of its own, which no package carries."""

EVERYTHING: dict[str, Any] = {
    **ORGANIZATIONS,
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
    "temporal": {"apiKeySecret": "cloud", "tls": {"enabled": True, "serverName": "t.example", "secret": "tls", "caFromSecret": True}},
    "vault": {"address": "https://vault.example", "namespace": "msp", "caSecret": "ca",
              "auth": {"method": "approle", "mount": "workers", "secret": "approle"}},
    "worker": {"workflowSafe": ["numpy", "dateutil"], "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]},
    "autoscaling": {"mode": "keda", "kedaAuthentication": "temporal"}, "metrics": {"serviceMonitor": {"enabled": True, "labels": {"a": "b"}}},
    "networkPolicy": {"extraEgress": [{"ports": [{"port": 3128, "protocol": "TCP"}]}]},
    "serviceAccount": {"annotations": {"a": "b"}}, "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}, "priorityClassName": "high",
    "extraVolumes": [{"name": "x", "emptyDir": {}}], "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
}


@pytest.fixture(scope="module")
def chart() -> Iterator[helm.Chart]:
    """The chart, loaded by Helm's own library."""
    with helm.Chart.load(CHART) as loaded:
        yield loaded


def _objects(chart: helm.Chart, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What Kubernetes would be given, by kind."""
    rendered = chart.render(values, name="demo", namespace="prod")
    found = [one for name, text in rendered.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    by_kind = {one["kind"]: one for one in found}
    assert len(by_kind) == len(found)
    return by_kind


def _installed(chart: helm.Chart, values: dict[str, Any]) -> None:
    """What `helm install` does before it asks a cluster."""
    chart.validate_schema(values)
    chart.render(values, name="demo", namespace="prod")


def _environment(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert len(variables) == len(container["env"]), "a variable stands there twice"
    return variables


def test_the_compose_file_is_valid() -> None:
    """It is what the Compose specification's JSON Schema describes."""
    subprocess.run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec",
                    str(ROOT / "docker-compose.temporal.yml")], check=True, capture_output=True)


def test_the_dockerfile_is_clean() -> None:
    """hadolint, which checks its shell commands as well, has nothing to say."""
    program = Path(sys.executable).with_name("hadolint")
    said = subprocess.run([program, ROOT / "deploy" / "docker" / "Dockerfile"], check=False, capture_output=True, text=True)
    assert (said.stdout, said.returncode) == ("", 0)


def test_helm_lints_the_chart() -> None:
    """`helm lint` finds nothing worse than that a chart may have an icon."""
    found = helm.lint(CHART)
    assert not found["errors"]
    assert {str(one).partition("icon is recommended")[1] for one in found["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize(("values", "kinds"), [
    (ORGANIZATIONS, {"PersistentVolumeClaim", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget"}),
    ({**ORGANIZATIONS, "autoscaling": {"mode": "cpu"}}, {"HorizontalPodAutoscaler"}),
    (EVERYTHING, {"ScaledObject", "ServiceMonitor"}),
], ids=["defaults", "cpu", "everything"])
def test_what_the_chart_renders_is_valid(chart: helm.Chart, values: dict[str, Any], kinds: set[str]) -> None:
    """Every object is what Kubernetes' own schema describes, strictly, in the oldest and the newest version that is known."""
    objects = _objects(chart, values)
    assert kinds | {"Deployment", "Job", "Service", "ServiceAccount"} <= objects.keys()
    for kind, one in objects.items():
        if kind not in NOT_KUBERNETES_OWN:
            for version in KUBERNETES:
                kubernetes_validate.validate(one, version, strict=True)
    _environment(objects["Deployment"])


def test_the_chart_leaves_out_what_is_elsewhere(chart: helm.Chart) -> None:
    """Object storage needs no volume, an existing ConfigMap no other, and what scales has no number of replicas of its own."""
    objects = _objects(chart, {
        "storage": {"revisions": "s3://b/revisions", "payloads": "s3://b/payloads"}, "organizations": {"configMap": "orgs"},
        "autoscaling": {"mode": "cpu"}, "temporal": {"setup": {"enabled": False}}, "networkPolicy": {"enabled": False},
        "metrics": {"enabled": False}, "podDisruptionBudget": {"enabled": False}, "serviceAccount": {"create": False}})
    assert objects.keys() == {"Deployment", "HorizontalPodAutoscaler"}
    environment = _environment(objects["Deployment"])
    assert environment["BIFROST_REVISIONS"] == "s3://b/revisions"
    assert environment["BIFROST_ORGANIZATIONS"] == "/etc/bifrost/organizations"
    assert not environment["BIFROST_METRICS_ADDRESS"]
    assert "replicas" not in objects["Deployment"]["spec"]


@pytest.mark.parametrize(("values", "said"), [
    ({}, "organizations: give their file as content"),
    ({**ORGANIZATIONS, "vault": {"auth": {"method": "approle"}}}, "a Secret with role-id and secret-id"),
    ({**ORGANIZATIONS, "temporal": {"address": "https://temporal.example"}}, "address"),
    ({**ORGANIZATIONS, "worker": {"terminationGracePeriodSeconds": 5}}, "terminationGracePeriodSeconds"),
    ({**ORGANIZATIONS, "replicaCount": 2}, "replicaCount"),
])
def test_the_chart_refuses_what_could_not_work(chart: helm.Chart, values: dict[str, Any], said: str) -> None:
    """A value that is missing, wrong or unknown is refused before anything is installed, and named."""
    with pytest.raises(helm.HelmError, match=said):
        _installed(chart, values)
