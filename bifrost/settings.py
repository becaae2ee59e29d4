"""Every environment variable that Bifrost reads itself, once.

The connection to Temporal is not here: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS, API key and profiles are Temporal's own
environment configuration (`temporalio.envconfig`), read by `bifrost.temporal.client`. Vault's own `VAULT_*` variables are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bifrost import messages
from bifrost.errors import ConfigurationError

_LOG_LEVELS = ("debug", "info", "warning", "error")
_LOG_FORMATS = ("auto", "console", "json")


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
        vault_token: `VAULT_TOKEN`: the token to read secrets with.
        vault_cacert: `VAULT_CACERT`: a file of CA certificates for Vault.
        vault_namespace: `VAULT_NAMESPACE`: Vault's namespace.
        vault_mount: `BIFROST_VAULT_MOUNT`: the mount of the KV v2 engine.
        vault_prefix: `BIFROST_VAULT_PREFIX`: the path below the mount that holds Bifrost's secrets.
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
    vault_token: str = field(default="", repr=False)
    vault_cacert: str = ""
    vault_namespace: str = ""
    vault_mount: str = "secret"
    vault_prefix: str = "bifrost"
    log_level: str = "info"
    log_format: str = "auto"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables; one that is unset or empty has its default.

        Raises:
            ConfigurationError: a variable has a value that it cannot have.
        """
        given = {name: value for name, variable in VARIABLES.items() if (value := environment.get(variable, "").strip())}
        for name, allowed in (("log_level", _LOG_LEVELS), ("log_format", _LOG_FORMATS)):
            if name in given and (given := {**given, name: given[name].lower()})[name] not in allowed:
                raise ConfigurationError(f"{VARIABLES[name]} is '{given[name]}'; it must be one of: "
                                         f"{', '.join(allowed)}", config_key=VARIABLES[name])
        safe = tuple(name.strip() for name in given.pop("workflow_safe", "").split(",") if name.strip())
        if wrong := [name for name in safe if not all(part.isidentifier() for part in name.split("."))]:
            raise ConfigurationError(f"BIFROST_WORKFLOW_SAFE names '{wrong[0]}', which is no package; write `numpy,dateutil`",
                                     config_key="BIFROST_WORKFLOW_SAFE")
        paths = {name: Path(given.pop(name)) for name in ("workspace", "organizations") if name in given}
        return cls(workflow_safe=safe, **given, **paths)  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """The variables that make another process read the same settings."""
        return {variable: ",".join(value) if isinstance(value := getattr(self, name), tuple) else str(value)
                for name, variable in VARIABLES.items()}


VARIABLES: Mapping[str, str] = {
    "workspace": "BIFROST_WORKSPACE",
    "organizations": "BIFROST_ORGANIZATIONS",
    "revisions": "BIFROST_REVISIONS",
    "payloads": "BIFROST_PAYLOADS",
    "workflow_safe": "BIFROST_WORKFLOW_SAFE",
    "task_queue": "BIFROST_TASK_QUEUE",
    "vault_addr": "VAULT_ADDR",
    "vault_token": "VAULT_TOKEN",
    "vault_cacert": "VAULT_CACERT",
    "vault_namespace": "VAULT_NAMESPACE",
    "vault_mount": "BIFROST_VAULT_MOUNT",
    "vault_prefix": "BIFROST_VAULT_PREFIX",
    "log_level": "BIFROST_LOG_LEVEL",
    "log_format": "BIFROST_LOG_FORMAT",
}
"""Which variable each setting comes from."""
