"""The ways to log in to Vault, on a real server, and what becomes of a token that is renewed, expired or revoked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from bifrost import redaction
from bifrost.errors import (
    ConfigurationError,
    IntegrationError,
    PermissionError,  # noqa: A004 - the name is the guide's
)
from bifrost.secrets import vault_login
from bifrost.secrets.vault import VaultSecrets
from bifrost.secrets.vault_connection import VaultConnection
from bifrost.secrets.vault_login import Lease
from bifrost.settings import Settings
from bifrost.temporal.failures import may_retry
from tests.vault_api import Api
from tests.waiting import until

READS = 'path "secret/data/bifrost/*" { capabilities = ["read"] } path "auth/token/*" { capabilities = ["read", "update"] }'


async def _app_role(api: Api, name: str, policy: str = READS, **more: object) -> dict[str, str]:
    """The settings of a new AppRole with this policy."""
    await api.enabled("approle")
    await api.ask("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    await api.ask("POST", f"auth/approle/role/{name}", {"token_policies": [name], "token_ttl": "60s", **more})
    role_id = (await api.ask("GET", f"auth/approle/role/{name}/role-id")).json()["data"]["role_id"]
    return {"vault_token": "", "vault_role_id": role_id, "vault_secret_id": await _secret_id(api, name)}


async def _secret_id(api: Api, name: str) -> str:
    return str((await api.ask("POST", f"auth/approle/role/{name}/secret-id")).json()["data"]["secret_id"])


@pytest.fixture
async def settings_of_role(vault_settings: Settings, api: Api, name: str) -> Settings:
    """Settings that log in by an AppRole; there is a secret `name` of acme's that it may read."""
    await VaultSecrets.from_settings(vault_settings).write("acme", name, "for acme")
    return replace(vault_settings, **await _app_role(api, name))


def _lease(store: VaultSecrets) -> Lease:
    assert store.connection._session is not None
    return store.connection._session.lease


def _change(store: VaultSecrets, **changes: float) -> None:
    session = store.connection._session
    assert session is not None
    store.connection._session = replace(session, lease=replace(session.lease, **changes))


def _counted(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str) -> list[object]:
    """A list that grows with each call of a method."""
    calls: list[object] = []
    original = getattr(owner, method)

    def counted(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(owner, method, staticmethod(counted) if owner is VaultConnection else counted)
    return calls


async def test_an_app_role_logs_in_once_and_again_when_its_token_was_revoked(
        settings_of_role: Settings, api: Api, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many readers share one login, the first and the one after a revocation; nobody notices either; nothing shows the token."""
    store = VaultSecrets.from_settings(settings_of_role, cache_seconds=0)
    logins, renewals = _counted(monkeypatch, store.connection._login, "open"), _counted(monkeypatch, VaultConnection, "_renewed")
    for number in (1, 2):
        answers = await asyncio.gather(*(store.get("acme", name) for _ in range(12)), store.connection.ask(
            lambda vault: vault.auth.token.lookup_self(), store._access("data", "x", "read")))
        assert answers[:-1] == ["for acme"] * 12
        assert len(logins) == number
        token = _lease(store).token
        assert token not in f"{store.connection._session!r} {redaction.mask(token)}"
        await api.revoke(token)
    assert await store.get("acme", name) == "for acme"
    assert renewals == [(None,)]  # whoever waited for a login does not renew what it brought


async def test_a_lease_that_has_expired_is_not_used(settings_of_role: Settings, api: Api, name: str) -> None:
    """After its lease a token is replaced before Vault is asked; so is, after two thirds, one that may not or cannot be renewed."""
    store = VaultSecrets.from_settings(settings_of_role, cache_seconds=0)
    await store.get("acme", name)
    tokens = {_lease(store).token}
    for changes in ({"renew_at": 0.0, "ends_at": 0.0}, {"renew_at": 0.0, "renewable": False}):
        _change(store, **changes)
        assert await store.get("acme", name) == "for acme"
        tokens.add(_lease(store).token)
    await api.revoke(_lease(store).token)
    _change(store, renew_at=0.0)
    assert await store.get("acme", name) == "for acme"
    assert len({*tokens, _lease(store).token}) == 4


async def test_an_expired_token_is_refused_with_the_cure(vault_settings: Settings, api: Api, name: str) -> None:
    """A given token that has expired cannot be replaced: the error says so, names the variable and is not retried."""
    await VaultSecrets.from_settings(vault_settings).write("acme", name, "for acme")
    token = await api.token(READS, ttl="1s")
    store = VaultSecrets.from_settings(replace(vault_settings, vault_token=token), cache_seconds=0)
    assert await store.get("acme", name) == "for acme"

    async def expired() -> bool:
        try:
            await api.ask("GET", "auth/token/lookup-self", token=token)
        except httpx.HTTPStatusError:
            return True
        return False

    _change(store, renew_at=float("inf"))
    await until(expired)
    with pytest.raises(PermissionError, match=r"expired or was revoked.*VAULT_TOKEN") as caught:
        await store.get("acme", name)
    assert not may_retry(caught.value)
    assert token not in str(caught.value.to_dict())


async def test_a_token_is_renewed_after_two_thirds_of_its_lease(vault_settings: Settings, api: Api, name: str,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """On use, once for all who use it then, and with what Vault grants; while it is renewed, the others use what is still good."""
    token = await api.token(READS, ttl="60s")
    store = VaultSecrets.from_settings(replace(vault_settings, vault_token=token), cache_seconds=0)
    await store.read("acme", name)
    before = _lease(store)
    assert before.renewable
    assert 38 < before.renew_at - time.monotonic() < 41
    assert 58 < before.ends_at - time.monotonic() < 61
    renewing, released, renewed = threading.Event(), threading.Event(), VaultConnection._renewed

    def slowly(session: Any) -> Any:
        assert not renewing.is_set()  # once
        renewing.set()
        assert released.wait(30)
        return renewed(session)

    monkeypatch.setattr(VaultConnection, "_renewed", staticmethod(slowly))
    _change(store, renew_at=0.0)
    first = asyncio.create_task(store.read("acme", f"{name}0"))
    assert await asyncio.to_thread(renewing.wait, 30)
    async with asyncio.timeout(30):
        await asyncio.gather(*(store.read("acme", f"{name}{number}") for number in range(1, 12)))
    released.set()
    await first
    assert _lease(store).ends_at > before.ends_at
    assert _lease(store).renew_at > time.monotonic()


async def test_a_renewal_that_fails_is_made_later(settings_of_role: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is still good is used while Vault cannot renew it; after its end the failure is the caller's."""
    store = VaultSecrets.from_settings(settings_of_role, cache_seconds=0, patience=0)
    await store.get("acme", name)

    def fails(*_: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(store.connection._login, "open", fails)
    _change(store, renew_at=0.0, renewable=False)
    token = _lease(store).token
    assert await store.get("acme", name) == "for acme"
    assert _lease(store).token == token
    assert time.monotonic() < _lease(store).renew_at < _lease(store).ends_at
    _change(store, renew_at=0.0, ends_at=0.0)
    with pytest.raises(IntegrationError, match="cannot be reached"):
        await store.get("acme", name)


async def test_a_token_that_never_expires_or_may_not_be_looked_up_is_used_as_it_is(vault_settings: Settings, api: Api) -> None:
    """A root token has no lease; of a token whose policy allows reading secrets only, the lease is not known."""
    bare = await api.token('path "secret/data/bifrost/*" { capabilities = ["read"] }', ttl="60s")
    for token in (vault_settings.vault_token, bare):
        store = VaultSecrets.from_settings(replace(vault_settings, vault_token=token))
        assert await store.read("acme", "absent") is None
        assert _lease(store) == Lease(token)


async def test_permission_denied_names_the_rule_and_brings_no_new_login(settings_of_role: Settings, name: str) -> None:
    """Of a token that Vault knows it is clear that a policy is missing: no other token of the role would have it."""
    store = VaultSecrets.from_settings(settings_of_role)
    await store.get("acme", name)
    token = _lease(store).token
    with pytest.raises(PermissionError, match="no policy of its token allows this. It takes: path "
                                              f'"secret/data/bifrost/acme/{name}" {{ capabilities = \\["create", "update"\\] }}') as caught:
        await store.write("acme", name, "hunter2hunter2")
    assert not may_retry(caught.value)
    assert _lease(store).token == token


async def test_what_files_hold_may_be_replaced(settings_of_role: Settings, api: Api, name: str, tmp_path: Path) -> None:
    """Role id, secret id and token may lie in files, which are read at each login: a new one is used as soon as it is needed."""
    files = {variable: tmp_path / variable for variable in ("vault_role_id", "vault_secret_id")}
    for variable, file in files.items():
        file.write_text(f"{getattr(settings_of_role, variable)}\n")
    paths = {f"{variable}_file": str(file) for variable, file in files.items()}
    store = VaultSecrets.from_settings(replace(settings_of_role, vault_role_id="", vault_secret_id="", **paths), cache_seconds=0)
    assert await store.get("acme", name) == "for acme"
    await api.ask("POST", f"auth/approle/role/{name}/secret-id/destroy", {"secret_id": settings_of_role.vault_secret_id})
    await api.revoke(_lease(store).token)
    with pytest.raises(ConfigurationError, match=r"refuses the login at auth/approle/login .*VAULT_SECRET_ID_FILE, which may have expired"):
        await store.get("acme", name)
    files["vault_secret_id"].write_text(await _secret_id(api, name))
    assert await store.get("acme", name) == "for acme"

    of_token = tmp_path / "token"
    of_token.write_text("s.old")
    store = VaultSecrets.from_settings(replace(settings_of_role, vault_role_id="", vault_secret_id="", vault_token_file=str(of_token)),
                                       cache_seconds=0)
    with pytest.raises(PermissionError, match=f"put a good one into {of_token}"):
        await store.get("acme", name)
    of_token.write_text(await api.token(READS))
    assert await store.get("acme", name) == "for acme"


async def test_the_token_of_vaults_own_command_line_is_found(vault_settings: Settings, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """What `vault login` left in the home folder is used where nothing is set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text(vault_settings.vault_token)
    assert await VaultSecrets.from_settings(replace(vault_settings, vault_token="")).read("acme", "absent") is None


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read: No such file"), (b" \n", "is empty"), (b"\xff", "it is no text")])
async def test_a_file_without_a_token_is_a_configuration_error(tmp_path: Path, content: bytes | None, said: str) -> None:
    """The error names the file and the variable."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    store = VaultSecrets.from_settings(Settings(vault_token_file=str(tmp_path / "token")))
    with pytest.raises(ConfigurationError, match=f"token, which VAULT_TOKEN_FILE names, .*{said}") as caught:
        await store.read("acme", "a")
    assert caught.value.config_key == "VAULT_TOKEN_FILE"


@pytest.mark.parametrize(("given", "said"), [
    ({"vault_token": "t", "vault_role_id": "r", "vault_k8s_role": "k"},
     "several ways.*: VAULT_TOKEN, VAULT_ROLE_ID, VAULT_K8S_ROLE are set.*VAULT_AUTH_METHOD to one of: token, approle, kubernetes"),
    ({"vault_token": "t", "vault_token_file": "f"}, "VAULT_TOKEN and VAULT_TOKEN_FILE are both set"),
    ({"vault_role_id": "r"}, "AppRole needs VAULT_SECRET_ID, or VAULT_SECRET_ID_FILE"),
    ({"vault_secret_id_file": "f"}, "AppRole needs VAULT_ROLE_ID, or VAULT_ROLE_ID_FILE"),
    ({"vault_token": "t", "vault_auth_method": "kubernetes"}, "needs VAULT_K8S_ROLE")])
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str], said: str) -> None:
    """Nothing is guessed: the error names the variables, and what to do."""
    with pytest.raises(ConfigurationError, match=said):
        VaultSecrets.from_settings(Settings(**given))


def test_a_way_that_was_chosen_goes_before_others_that_are_set() -> None:
    """`VAULT_AUTH_METHOD` decides; the mount is the method's own name unless it is set."""
    given = Settings(vault_token="t", vault_role_id="r", vault_secret_id="s", vault_auth_method="approle", vault_auth_mount="/other/")
    login = vault_login.chosen(given)
    assert isinstance(login, vault_login.AppRoleLogin)
    assert login._mount == "other"
    assert isinstance(vault_login.chosen(replace(given, vault_auth_method="token")), vault_login.TokenLogin)


async def test_a_login_that_vault_cannot_serve_now_may_be_tried_again(settings_of_role: Settings, api: Api, name: str) -> None:
    """An overloaded server's answer to a login is no reason to give up; one that refuses is."""
    async with _answering(429, "{}") as address:
        store = VaultSecrets.from_settings(replace(settings_of_role, vault_addr=address), patience=0)
        with pytest.raises(IntegrationError, match="429 for auth/approle/login") as caught:
            await store.get("acme", name)
    assert may_retry(caught.value)
    async with _answering(404, "no JSON") as address:
        with pytest.raises(ConfigurationError, match="refuses the login"):
            await VaultSecrets.from_settings(replace(settings_of_role, vault_addr=address)).get("acme", name)


async def test_a_namespace_is_asked(vault_settings: Settings, api: Api, name: str) -> None:
    """With `VAULT_NAMESPACE` secrets lie in that namespace, and not beside it."""
    await api.ask("POST", f"sys/namespaces/{name}")
    store = VaultSecrets.from_settings(replace(vault_settings, vault_namespace=name))
    await store.connection.ask(lambda vault: vault.sys.enable_secrets_engine("kv", "secret", options={"version": "2"}),
                               store._access("data", "x", "create"))

    async def written() -> bool:  # a new engine refuses work while it prepares its storage
        with contextlib.suppress(Exception):
            return bool(await store.write("acme", name, "in the namespace"))
        return False

    await until(written)
    assert await store.read("acme", name) == "in the namespace"
    assert await VaultSecrets.from_settings(vault_settings).read("acme", name) is None


# Kubernetes ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _answering(status: int, answer: str | Callable[[bytes], str]) -> AsyncIterator[str]:
    """The address of a server that answers every request so; the answer may depend on the request's body."""
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        said = answer if isinstance(answer, str) else answer(body)
        writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n{said}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _jwt(account: str) -> str:
    """A token as Kubernetes gives a pod; nobody checks the signature but the cluster, which is asked by TokenReview."""
    now = int(time.time())
    claims = {"iss": "kubernetes/serviceaccount", "sub": f"system:serviceaccount:bifrost:{account}", "aud": ["cluster"], "iat": now, "nbf": now - 5,
              "exp": now + 600, "kubernetes.io": {"namespace": "bifrost", "serviceaccount": {"name": account, "uid": "1"}}}
    parts = ({"alg": "RS256", "kid": "k"}, claims, {"signed": "by the cluster"})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)


def _review(body: bytes) -> str:
    """What a cluster answers that knows one service account
    (https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/).
    """
    account = "worker" if json.loads(body)["spec"]["token"] == _JWT else "stranger"
    return json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {
        "authenticated": account == "worker", "audiences": ["cluster"],
        "user": {"username": f"system:serviceaccount:bifrost:{account}", "uid": "1", "groups": ["system:serviceaccounts"]}}})


_JWT = _jwt("worker")


async def test_a_pod_logs_in_by_its_service_account(vault_settings: Settings, api: Api, name: str, tmp_path: Path,
                                                    certificate_authority: str) -> None:
    """Vault has the cluster check the token; one of another account, and a role that is not there, are refused with the cure."""
    jwt = tmp_path / "token"
    await VaultSecrets.from_settings(vault_settings).write("acme", name, "for acme")
    await api.enabled("kubernetes")
    await api.ask("PUT", f"sys/policies/acl/{name}", {"policy": READS})
    async with _answering(201, _review) as cluster:
        await api.ask("POST", "auth/kubernetes/config", {
            "kubernetes_host": cluster, "disable_local_ca_jwt": True, "kubernetes_ca_cert": certificate_authority})
        await api.ask("POST", f"auth/kubernetes/role/{name}", {
            "bound_service_account_names": ["worker"], "bound_service_account_namespaces": ["bifrost"], "token_policies": [name],
            "audience": "cluster"})
        settings = replace(vault_settings, vault_token="", vault_k8s_role=name, vault_k8s_jwt_file=str(jwt))
        store = VaultSecrets.from_settings(settings, cache_seconds=0)
        for token, role, said in ((_jwt("stranger"), name, "is bound to this pod's"), ("no token", name, "VAULT_AUTH_MOUNT"),
                                  (_JWT, "nobody", "the role 'nobody' exists")):
            jwt.write_text(token)
            with pytest.raises(ConfigurationError, match=said) as caught:
                await VaultSecrets.from_settings(replace(settings, vault_k8s_role=role)).get("acme", name)
            assert caught.value.config_key == "VAULT_K8S_ROLE"
            assert token not in str(caught.value.to_dict())
        jwt.write_text(_JWT)
        assert await store.get("acme", name) == "for acme"
        await api.revoke(_lease(store).token)
        assert await store.get("acme", name) == "for acme"
