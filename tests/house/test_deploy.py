"""What stands in deploy/ agrees with the code and with itself; whether it is valid, `tests/deploy` asks the tools of others."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bifrost.dev import temporal_server
from bifrost.dev.temporal_server import find_temporal
from bifrost.dev.vault_server import find_bao
from bifrost.settings import VARIABLES
from bifrost.temporal.worker import GRACEFUL_SHUTDOWN

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE_TEXT = (ROOT / "docker-compose.temporal.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TEMPORALS_OWN = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_TLS", "TEMPORAL_TLS_SERVER_NAME",
                 "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"}
VALUES = yaml.safe_load((DEPLOY / "helm" / "bifrost" / "values.yaml").read_text())


def test_the_compose_file_holds_no_secret() -> None:
    """Every variable of it stands in .env.example; what has to be given is empty there."""
    used = dict(re.findall(r"\$\{(\w+)(:[?-][^}]*)\}", COMPOSE_TEXT))
    assert used.keys() == EXAMPLE.keys()
    required = {name for name, otherwise in used.items() if otherwise.startswith(":?")}
    assert required == {name for name in EXAMPLE if re.search("PASSWORD|KEY|TOKEN|SECRET", name)}
    assert {name for name, value in EXAMPLE.items() if not value} == {*required, "BIFROST_EXTRA_PACKAGES"}
    assert {name: otherwise[2:] for name, otherwise in used.items() if name not in required} == {
        name: value for name, value in EXAMPLE.items() if name not in required}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_than_it_needs(name: str) -> None:
    """Pinned, limited, not root, with nothing to write on but its volumes, and on the host's loopback address only."""
    service = SERVICES[name]
    assert re.search(r":(\d+\.\d+(\.\d+)?(-\w[\w.]*)?|\$\{BIFROST_VERSION:-\d+\.\d+\.\d+\})$", service["image"])
    assert service["read_only"] is True
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert service.get("user", "10001" if service["image"].startswith("bifrost:") else "0").partition(":")[0] not in {"0", "root"}
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert all(service_or_once["condition"] for service_or_once in service.get("depends_on", {}).values())
    assert set(service["networks"]) <= yaml.safe_load(COMPOSE_TEXT)["networks"].keys()


def test_files_that_are_mounted_exist() -> None:
    """A bind mount of the compose file that is missing would be made as a folder, by root."""
    sources = [mount["source"] for service in SERVICES.values() for mount in service.get("volumes", []) if mount["type"] == "bind"]
    for source in sources:
        assert (ROOT / re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", source)).exists(), source


def test_the_cluster_is_configured_as_the_embedded_server() -> None:
    """Fairness, rates and polling limits are the same in `bifrost dev` and in the compose file."""
    deployed = yaml.safe_load((DEPLOY / "compose" / "temporal-dynamicconfig.yaml").read_text())
    assert {name: [{"value": value}] for name, value in temporal_server._DYNAMIC_CONFIG.items()} == deployed


def test_images_are_what_is_tested() -> None:
    """Temporal's server and web interface and OpenBao have the versions that run in the tests."""
    told = subprocess.run([find_temporal(), "--version"], check=True, capture_output=True, text=True).stdout
    [(server, ui)] = re.findall(r"Server (\S+), UI ([^)\s]+)", told)
    [bao] = re.findall(r"v(\S+)", subprocess.run([find_bao(), "version"], check=True, capture_output=True, text=True).stdout)[:1]
    images = dict(service["image"].rsplit(":", 1) for service in SERVICES.values() if service["image"][:7] != "bifrost")
    assert images["temporalio/server"] == images["temporalio/admin-tools"] == server
    assert images["temporalio/ui"] == ui
    assert images["openbao/openbao"] == bao


def test_the_version_is_one() -> None:
    """Package, chart and image have the same version."""
    chart = yaml.safe_load((DEPLOY / "helm" / "bifrost" / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"], EXAMPLE["BIFROST_VERSION"]} == {VERSION}


def test_every_variable_is_a_setting() -> None:
    """A variable that Bifrost would not read stands nowhere."""
    files = [*DEPLOY.rglob("*.service"), *DEPLOY.rglob("*.env.example"), *(DEPLOY / "helm").rglob("*.yaml"), *(DEPLOY / "helm").rglob("*.tpl"),
             DEPLOY / "docker" / "Dockerfile"]
    written = {name for file in files for name in re.findall(r"\b(?:BIFROST|VAULT|TEMPORAL)_[A-Z0-9_]+\b", file.read_text())}
    written |= {name for name in ("worker", "cli", "temporal-setup") for name in SERVICES[name]["environment"]}
    assert written - set(VARIABLES.values()) - TEMPORALS_OWN == set()


def test_whoever_stops_a_worker_waits_for_it() -> None:
    """Container engine, systemd and Kubernetes give a worker more time to stop than it gives its calls."""
    unit = (DEPLOY / "systemd" / "bifrost-worker@.service").read_text()
    waits = (SERVICES["worker"]["stop_grace_period"].removesuffix("s"), *re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE),
             VALUES["worker"]["terminationGracePeriodSeconds"])
    assert len(waits) == 3
    assert all(int(wait) >= GRACEFUL_SHUTDOWN.total_seconds() + 5 for wait in waits)
