"""The ways to a token of Vault's: one that is given, an AppRole, or the service account of a Kubernetes pod.

A way is chosen by `VAULT_AUTH_METHOD`, or by which variables are set. The variables are those that Vault's CLI knows
(https://developer.hashicorp.com/vault/docs/commands) and, for what it has none for, those that are widely used: `VAULT_ROLE_ID` and
`VAULT_SECRET_ID` (https://docs.ansible.com/ansible/2.7/plugins/lookup/hashi_vault.html), `VAULT_K8S_ROLE`; with `_FILE` for files of
them. What is in a file is read again at every login, so that it may be replaced under a process that runs.
"""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import hvac
import requests

from bifrost import redaction
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.settings import VARIABLES, Settings

TOKEN_FILE: Final = Path("~/.vault-token")
"""Where `vault login` leaves a token (https://developer.hashicorp.com/vault/docs/commands)."""
_DUE: Final = 2 / 3  # of a lease is over: time to renew it

Clients = Callable[[str], hvac.Client]
"""Makes an hvac client with this token, or with none where it is empty."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A token, and how long it is good for.

    Attributes:
        token: The token.
        renewable: Whether Vault may extend it.
        renew_at: When to, by `time.monotonic`; infinite for one that never expires.
        ends_at: When it expires, if it is not renewed.
    """

    token: str = field(repr=False)
    renewable: bool = False
    renew_at: float = math.inf
    ends_at: float = math.inf

    @classmethod
    def of(cls, token: str, seconds: float, *, renewable: bool) -> Lease:
        """A lease from now on; 0 seconds are for ever, as Vault says it."""
        redaction.remember(token)
        now = time.monotonic()
        return cls(token, renewable, now + seconds * _DUE, now + seconds) if seconds else cls(token)

    def later(self) -> Lease:
        """The same, to be renewed after a part of the time that is left: it could not be now."""
        now = time.monotonic()
        return replace(self, renew_at=now + max((self.ends_at - now) / 4, 1))


@dataclass(frozen=True, slots=True)
class Credential:
    """What a variable holds, or a file that another variable names."""

    variable: str
    value: str = field(default="", repr=False)
    file: Path | None = None

    @classmethod
    def given(cls, settings: Settings, name: str) -> Credential | None:
        """The one of the setting `name`, or of `<name>_file`; None where neither is set.

        Raises:
            ConfigurationError: both are.
        """
        value, path = getattr(settings, name), getattr(settings, f"{name}_file")
        if value and path:
            raise ConfigurationError(f"{VARIABLES[name]} and {VARIABLES[f'{name}_file']} are both set: unset one of them",
                                     config_key=VARIABLES[name])
        if path:
            return cls(VARIABLES[f"{name}_file"], file=Path(path))
        return cls(VARIABLES[name], value) if value else None

    def read(self) -> str:
        """The value, as it is now.

        Raises:
            ConfigurationError: the file cannot be read, or is empty.
        """
        if self.file is None:
            redaction.remember(self.value)
            return self.value
        try:
            value = self.file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.file}, which {self.variable} names, cannot be read: "
                                     f"{getattr(error, 'strerror', None) or 'it is no text'}", config_key=self.variable) from error
        if not value:
            raise ConfigurationError(f"{self.file}, which {self.variable} names, is empty", config_key=self.variable)
        redaction.remember(value)
        return value


class Login(abc.ABC):
    """A way to a token."""

    cure: str = "log in again"
    """What an operator does about a token that Vault does not accept any more, and that this way cannot replace."""

    @abc.abstractmethod
    def open(self, clients: Clients) -> Lease:
        """A token that is good now, with its lease. It blocks.

        Raises:
            ConfigurationError: Vault refuses, or what it takes cannot be read.
            IntegrationError: Vault failed; may be tried again.
            requests.RequestException: Vault cannot be reached.
        """


class TokenLogin(Login):
    """A token that somebody else got; of Vault it is only asked how long it is good for."""

    def __init__(self, token: Credential) -> None:
        self._token = token
        self.cure = f"set {token.variable} to a good one" if token.file is None else f"put a good one into {token.file}"

    def open(self, clients: Clients) -> Lease:
        token = self._token.read()
        response = clients(token).auth.token.lookup_self()
        known = _content(response).get("data")
        if not response.ok or not isinstance(known, dict):
            return Lease.of(token, 0, renewable=False)  # a policy may forbid to ask: what the token is good for will be seen
        return Lease.of(token, float(known.get("ttl") or 0), renewable=bool(known.get("renewable")))


class AppRoleLogin(Login):
    """An AppRole: https://developer.hashicorp.com/vault/docs/auth/approle."""

    def __init__(self, role_id: Credential, secret_id: Credential, mount: str) -> None:
        self._role_id = role_id
        self._secret_id = secret_id
        self._mount = mount

    def open(self, clients: Clients) -> Lease:
        response = clients("").auth.approle.login(
            self._role_id.read(), self._secret_id.read(), use_token=False, mount_point=self._mount)
        return _granted(response, self._mount, f"check {self._role_id.variable}, and {self._secret_id.variable}, which may have "
                                               "expired or been used up", self._secret_id.variable)


class KubernetesLogin(Login):
    """The service account of a pod: https://developer.hashicorp.com/vault/docs/auth/kubernetes."""

    def __init__(self, role: str, jwt: Credential, mount: str) -> None:
        self._role = role
        self._jwt = jwt
        self._mount = mount

    def open(self, clients: Clients) -> Lease:
        response = clients("").auth.kubernetes.login(self._role, self._jwt.read(), use_token=False, mount_point=self._mount)
        return _granted(response, self._mount, f"check that the role '{self._role}' exists and is bound to this pod's namespace and "
                                               "service account, and that VAULT_AUTH_MOUNT is where the method is mounted",
                        VARIABLES["vault_k8s_role"])


def _granted(response: requests.Response, mount: str, hint: str, variable: str) -> Lease:
    answer = _content(response)
    said = "; ".join(map(str, answer.get("errors") or [response.reason]))
    if response.status_code == 429 or response.status_code >= 500:
        raise IntegrationError(f"Vault answered {response.status_code} for auth/{mount}/login: {said}", integration="vault",
                               status_code=response.status_code)
    granted = answer.get("auth")
    if not response.ok or not isinstance(granted, dict) or not granted.get("client_token"):
        raise ConfigurationError(f"Vault refuses the login at auth/{mount}/login ({said}): {hint}", config_key=variable)
    return Lease.of(str(granted["client_token"]), float(granted.get("lease_duration") or 0),
                    renewable=bool(granted.get("renewable")))


def _content(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json() if response.content else {}
    except ValueError:
        answer = {}
    return answer if isinstance(answer, dict) else {}


_BELONGING: Final = {
    "token": ("vault_token", "vault_token_file"),
    "approle": ("vault_role_id", "vault_role_id_file", "vault_secret_id", "vault_secret_id_file"),
    "kubernetes": ("vault_k8s_role",)}


def chosen(settings: Settings) -> Login:
    """The way that the settings describe.

    Raises:
        ConfigurationError: they describe none, half of one, or several without saying which.
    """
    found = {method: [VARIABLES[name] for name in names if getattr(settings, name)] for method, names in _BELONGING.items()}
    described = [method for method, names in found.items() if names]
    if not settings.vault_auth_method and len(described) > 1:
        variables = ", ".join(name for names in found.values() for name in names)
        raise ConfigurationError(f"There are several ways to log in to Vault: {variables} are set. Unset those that are not meant, or set "
                                 f"VAULT_AUTH_METHOD to one of: {', '.join(described)}", config_key="VAULT_AUTH_METHOD")
    method = settings.vault_auth_method or next(iter(described), "token")
    mount = settings.vault_auth_mount.strip("/") or method
    if method == "approle":
        return AppRoleLogin(_required(settings, "vault_role_id"), _required(settings, "vault_secret_id"), mount)
    if method == "kubernetes":
        if not settings.vault_k8s_role:
            raise ConfigurationError("A login by Kubernetes needs VAULT_K8S_ROLE", config_key="VAULT_K8S_ROLE")
        jwt = Credential(VARIABLES["vault_k8s_jwt_file"], file=Path(settings.vault_k8s_jwt_file))
        return KubernetesLogin(settings.vault_k8s_role, jwt, mount)
    return TokenLogin(_token(settings))


def _required(settings: Settings, name: str) -> Credential:
    found = Credential.given(settings, name)
    if found is None:
        raise ConfigurationError(f"A login by AppRole needs {VARIABLES[name]}, or {VARIABLES[f'{name}_file']}",
                                 config_key=VARIABLES[name])
    return found


def _token(settings: Settings) -> Credential:
    if found := Credential.given(settings, "vault_token"):
        return found
    if TOKEN_FILE.expanduser().is_file():
        return Credential(VARIABLES["vault_token_file"], file=TOKEN_FILE)
    raise ConfigurationError(
        f"There is no token for Vault at {settings.vault_addr}: set VAULT_TOKEN to one that may read "
        f"{settings.vault_mount}/data/{settings.vault_prefix}/*, or VAULT_ROLE_ID and VAULT_SECRET_ID, or VAULT_K8S_ROLE",
        config_key="VAULT_TOKEN")
