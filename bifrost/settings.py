"""Every environment variable that Bifrost reads itself, once.

The connection to Temporal is not here: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS, API key and profiles are Temporal's own
environment configuration (`temporalio.envconfig`), read by `bifrost.temporal.client`. Vault's own `VAULT_*` variables are.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bifrost import messages
from bifrost.errors import ConfigurationError

_LOG_LEVELS = ("debug", "info", "warning", "error")
_LOG_FORMATS = ("auto", "console", "json")
_LEAST = {"cached_executions": 0, "calls_at_once": 1}
METRICS_VARIABLE, HEALTH_VARIABLE = "BIFROST_METRICS_ADDRESS", "BIFROST_HEALTH_ADDRESS"
_ENCRYPTIONS = ("off", "vault")
_AUTH_METHODS = ("token", "approle", "kubernetes")
_TRUTHS = {**dict.fromkeys(("1", "t", "true"), True), **dict.fromkeys(("0", "f", "false"), False)}  # as Vault's CLI reads them


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process.

    Attributes:
        workspace: `BIFROST_WORKSPACE`: the folder of user code.
        organizations: `BIFROST_ORGANIZATIONS`: a YAML file, or a folder of them.
        revisions: `BIFROST_REVISIONS`: what keeps snapshots of the workspace: a folder, or a URL that a fleet shares.
        payloads: `BIFROST_PAYLOADS`: what keeps large arguments and results: a folder, or a URL that a fleet shares.
        workflow_safe: `BIFROST_WORKFLOW_SAFE`: packages that only compute, which workflow code may use, with commas between.
        task_queue: `BIFROST_TASK_QUEUE`: the Temporal task queue.
        vault_addr: `VAULT_ADDR`: where Vault answers.
        vault_auth_method: `VAULT_AUTH_METHOD`: token, approle or kubernetes; by default the one whose variables are set.
        vault_auth_mount: `VAULT_AUTH_MOUNT`: where approle or kubernetes is mounted; by default at its own name.
        vault_token: `VAULT_TOKEN`: the token to read secrets with.
        vault_token_file: `VAULT_TOKEN_FILE`: a file of it; `~/.vault-token`, where Vault's CLI leaves it, if nothing is set.
        vault_role_id: `VAULT_ROLE_ID`: the role id of an AppRole.
        vault_role_id_file: `VAULT_ROLE_ID_FILE`: a file of it.
        vault_secret_id: `VAULT_SECRET_ID`: the secret id of an AppRole.
        vault_secret_id_file: `VAULT_SECRET_ID_FILE`: a file of it, read again at every login.
        vault_k8s_role: `VAULT_K8S_ROLE`: the role to log in to by the pod's service account.
        vault_k8s_jwt_file: `VAULT_K8S_JWT_FILE`: the file of the service account's token, if not where Kubernetes puts it.
        vault_cacert: `VAULT_CACERT`: a file of CA certificates for Vault.
        vault_capath: `VAULT_CAPATH`: a folder of them, named by their hashes, if there is no such file.
        vault_tls_server_name: `VAULT_TLS_SERVER_NAME`: the name that Vault's certificate has to be for, if not the address's.
        vault_skip_verify: `VAULT_SKIP_VERIFY`: whether to take any certificate for Vault's.
        vault_namespace: `VAULT_NAMESPACE`: Vault's namespace.
        vault_mount: `BIFROST_VAULT_MOUNT`: the mount of the KV v2 engine.
        vault_prefix: `BIFROST_VAULT_PREFIX`: the path below the mount that holds Bifrost's secrets.
        secret_cache_seconds: `BIFROST_SECRET_CACHE_SECONDS`: how long a value may be served without asking Vault again; 0 for not at all.
        vault_transit: `BIFROST_VAULT_TRANSIT`: the mount of the transit engine, whose keys encrypt payloads.
        encryption: `BIFROST_ENCRYPTION`: vault to encrypt what goes to Temporal, with a key of each organization's; or off.
        metrics_address: `BIFROST_METRICS_ADDRESS`: `host:port` where a worker answers `/metrics`, for Prometheus; empty for nowhere.
        health_address: `BIFROST_HEALTH_ADDRESS`: `host:port` where a worker answers `/livez` and `/readyz`; empty for nowhere.
        cached_executions: `BIFROST_CACHED_EXECUTIONS`: how many executions a worker keeps in memory between their steps.
        calls_at_once: `BIFROST_CALLS_AT_ONCE`: how many calls a worker has under way at once.
        log_level: `BIFROST_LOG_LEVEL`: debug, info, warning or error.
        log_format: `BIFROST_LOG_FORMAT`: json, console, or auto (console on a terminal).
    """

    workspace: Path = Path("workspace")
    organizations: Path = Path("deploy/organizations.yaml")
    revisions: str = ".bifrost/revisions"
    payloads: str = ".bifrost/payloads"
    workflow_safe: tuple[str, ...] = ()
    task_queue: str = messages.TASK_QUEUE
    vault_addr: str = "http://127.0.0.1:8200"
    vault_auth_method: str = ""
    vault_auth_mount: str = ""
    vault_token: str = field(default="", repr=False)
    vault_token_file: str = ""
    vault_role_id: str = ""
    vault_role_id_file: str = ""
    vault_secret_id: str = field(default="", repr=False)
    vault_secret_id_file: str = ""
    vault_k8s_role: str = ""
    vault_k8s_jwt_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    vault_cacert: str = ""
    vault_capath: str = ""
    vault_tls_server_name: str = ""
    vault_skip_verify: bool = False
    vault_namespace: str = ""
    vault_mount: str = "secret"
    vault_prefix: str = "bifrost"
    secret_cache_seconds: float = 5.0
    vault_transit: str = "transit"
    encryption: str = "off"
    metrics_address: str = ""
    health_address: str = ""
    cached_executions: int = 1000
    calls_at_once: int = 1000
    log_level: str = "info"
    log_format: str = "auto"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables; one that is unset or empty has its default.

        Raises:
            ConfigurationError: a variable has a value that it cannot have.
        """
        given = {name: value for name, variable in VARIABLES.items() if (value := environment.get(variable, "").strip())}
        for name, allowed in (("log_level", _LOG_LEVELS), ("log_format", _LOG_FORMATS), ("encryption", _ENCRYPTIONS),
                              ("vault_auth_method", _AUTH_METHODS)):
            if name in given and (given := {**given, name: given[name].lower()})[name] not in allowed:
                raise ConfigurationError(f"{VARIABLES[name]} is '{given[name]}'; it must be one of: "
                                         f"{', '.join(allowed)}", config_key=VARIABLES[name])
        safe = tuple(name.strip() for name in given.pop("workflow_safe", "").split(",") if name.strip())
        if wrong := [name for name in safe if not all(part.isidentifier() for part in name.split("."))]:
            raise ConfigurationError(f"BIFROST_WORKFLOW_SAFE names '{wrong[0]}', which is no package; write `numpy,dateutil`",
                                     config_key="BIFROST_WORKFLOW_SAFE")
        for name in ("metrics_address", "health_address"):
            if name in given:
                host_and_port(VARIABLES[name], given[name])
        numbers = {name: _number(VARIABLES[name], given.pop(name), least) for name, least in _LEAST.items() if name in given}
        converted: dict[str, object] = {name: convert(VARIABLES[name], given.pop(name)) for name, convert in (
            ("vault_skip_verify", _truth), ("secret_cache_seconds", _seconds)) if name in given}
        paths = {name: Path(given.pop(name)) for name in ("workspace", "organizations") if name in given}
        return cls(workflow_safe=safe, **given, **numbers, **converted, **paths)  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """The variables that make another process read the same settings."""
        return {variable: ",".join(value) if isinstance(value := getattr(self, name), tuple) else str(value)
                for name, variable in VARIABLES.items()}

    def with_vault(self, address: str, token: str) -> Settings:
        """The same with another Vault, reached by this token: nothing of the ways to the one before is left."""
        ways = {name: default for name, default in _DEFAULTS.items()
                if name.startswith("vault_") and VARIABLES[name].startswith("VAULT_")}
        return dataclasses.replace(self, **{**ways, "vault_addr": address, "vault_token": token})  # type: ignore[arg-type]


def _truth(variable: str, text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ConfigurationError(f"{variable} is '{text}'; it must be one of: true, false", config_key=variable)
    return _TRUTHS[text.lower()]


def _seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigurationError(f"{variable} is '{text}'; it must be a number of seconds, 0 or more", config_key=variable)
    return seconds


def host_and_port(variable: str, text: str) -> tuple[str, int]:
    """An address to listen on; an IPv6 one stands in brackets.

    Raises:
        ConfigurationError: it is none; names the variable that has it.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"{variable} is '{text}'; it must be a host and a port, such as 127.0.0.1:9464", config_key=variable)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _number(variable: str, text: str, least: int) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise ConfigurationError(f"{variable} is '{text}'; it must be a whole number, {least} or more", config_key=variable)
    return int(text)


VARIABLES: Mapping[str, str] = {
    "workspace": "BIFROST_WORKSPACE",
    "organizations": "BIFROST_ORGANIZATIONS",
    "revisions": "BIFROST_REVISIONS",
    "payloads": "BIFROST_PAYLOADS",
    "workflow_safe": "BIFROST_WORKFLOW_SAFE",
    "task_queue": "BIFROST_TASK_QUEUE",
    "vault_addr": "VAULT_ADDR",
    "vault_auth_method": "VAULT_AUTH_METHOD",
    "vault_auth_mount": "VAULT_AUTH_MOUNT",
    "vault_token": "VAULT_TOKEN",
    "vault_token_file": "VAULT_TOKEN_FILE",
    "vault_role_id": "VAULT_ROLE_ID",
    "vault_role_id_file": "VAULT_ROLE_ID_FILE",
    "vault_secret_id": "VAULT_SECRET_ID",
    "vault_secret_id_file": "VAULT_SECRET_ID_FILE",
    "vault_k8s_role": "VAULT_K8S_ROLE",
    "vault_k8s_jwt_file": "VAULT_K8S_JWT_FILE",
    "vault_cacert": "VAULT_CACERT",
    "vault_capath": "VAULT_CAPATH",
    "vault_tls_server_name": "VAULT_TLS_SERVER_NAME",
    "vault_skip_verify": "VAULT_SKIP_VERIFY",
    "vault_namespace": "VAULT_NAMESPACE",
    "vault_mount": "BIFROST_VAULT_MOUNT",
    "vault_prefix": "BIFROST_VAULT_PREFIX",
    "secret_cache_seconds": "BIFROST_SECRET_CACHE_SECONDS",
    "vault_transit": "BIFROST_VAULT_TRANSIT",
    "encryption": "BIFROST_ENCRYPTION",
    "metrics_address": METRICS_VARIABLE,
    "health_address": HEALTH_VARIABLE,
    "cached_executions": "BIFROST_CACHED_EXECUTIONS",
    "calls_at_once": "BIFROST_CALLS_AT_ONCE",
    "log_level": "BIFROST_LOG_LEVEL",
    "log_format": "BIFROST_LOG_FORMAT",
}
"""Which variable each setting comes from."""
_DEFAULTS: Mapping[str, object] = {one.name: one.default for one in dataclasses.fields(Settings)}
