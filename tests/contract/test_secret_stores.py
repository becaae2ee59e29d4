"""Every secret store keeps the same promises; and what only the one over Vault has to: outages, refusals, caching."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from bifrost import redaction
from bifrost.dev.ports import free_port
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import (
    ConfigurationError,
    IntegrationError,
    PermissionError,  # noqa: A004 - the name is the guide's
    ValidationError,
)
from bifrost.models import GLOBAL
from bifrost.secrets import vault
from bifrost.secrets.base import KeptSecret, SecretStore
from bifrost.secrets.memory import MemorySecrets
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from tests.vault_api import Api
from tests.waiting import until

BAD_NAMES = ["", ".", "..", "../globex/password", "..%2Fglobex%2Fpassword", "a/b", "/a", "a\\b", "-a", "a b", "a\n", "a\x00b",
             "пароль", "a?version=1", "a#b", "%2e%2e", "a" * 256]


@pytest.fixture(params=["memory", "vault"])
def store(request: pytest.FixtureRequest) -> SecretStore:
    """One store after the other."""
    return MemorySecrets() if request.param == "memory" else request.getfixturevalue("vault_secrets")


@pytest.fixture
def name() -> str:
    """The name of a secret that no other test uses."""
    return f"secret_{uuid.uuid4().hex}"


async def test_an_organizations_own_secret_goes_before_the_global_one(store: SecretStore, name: str) -> None:
    """The organization is asked first, GLOBAL where it has none."""
    await store.write(GLOBAL, name, "for everybody")
    assert await store.get("acme", name) == "for everybody"
    await store.write("acme", name, "for acme")
    assert await store.get("acme", name) == "for acme"
    assert await store.get("globex", name) == "for everybody"


@pytest.mark.parametrize("org_id", [None, GLOBAL])
async def test_without_an_organization_only_global_is_asked(store: SecretStore, name: str, org_id: str | None) -> None:
    """An execution without an organization sees global secrets and no others."""
    await store.write("acme", name, "for acme")
    with pytest.raises(KeyError):
        await store.get(org_id, name)
    await store.write(GLOBAL, name, "for everybody")
    assert await store.get(org_id, name) == "for everybody"


async def test_another_organizations_secret_is_never_answered(store: SecretStore, name: str) -> None:
    """A secret of one organization does not exist for another; the error names both places that were tried."""
    await store.write("globex", name, "for globex")
    with pytest.raises(KeyError) as caught:
        await store.get("acme", name)
    assert store.place("acme", name) in str(caught.value)
    assert store.place(GLOBAL, name) in str(caught.value)
    assert "for globex" not in str(caught.value)


@pytest.mark.parametrize("bad", BAD_NAMES)
async def test_a_name_that_could_leave_its_folder_is_refused(store: SecretStore, bad: str) -> None:
    """No operation accepts a name that is not one segment of a path."""
    await store.write("globex", "password", "for globex")
    for refused in (store.get("acme", bad), store.read("acme", bad), store.write("acme", bad, "x"),
                    store.delete("acme", bad)):
        with pytest.raises(ValidationError, match="secret name"):
            await refused


@pytest.mark.parametrize("bad", [bad for bad in BAD_NAMES if bad])
async def test_an_organization_that_could_be_another_folder_is_refused(store: SecretStore, bad: str) -> None:
    """Nor does any accept such an organization's id."""
    for refused in (store.get(bad, "a"), store.read(bad, "a"), store.write(bad, "a", "x"), store.delete(bad, "a"),
                    store.names(bad)):
        with pytest.raises(ValidationError, match="organization id"):
            await refused


async def test_what_was_written_is_listed_and_can_be_deleted(store: SecretStore) -> None:
    """Secrets of one scope are listed in order, with version and time and without value; a deleted one is gone, twice is no error."""
    org_id = f"org-{uuid.uuid4().hex}"
    assert await store.names(org_id) == await store.listed(org_id) == []
    began = datetime.now(UTC) - timedelta(seconds=1)
    assert [await store.write(org_id, secret, "some value") for secret in ("b", "a", "c.d-e_f", "a")] == [1, 1, 1, 2]
    assert await store.names(org_id) == ["a", "b", "c.d-e_f"]
    listed = await store.listed(org_id)
    assert [(kept.name, kept.version) for kept in listed] == [("a", 2), ("b", 1), ("c.d-e_f", 1)]
    assert all(began < kept.set_at <= datetime.now(UTC) for kept in listed if kept.set_at)
    assert "some value" not in repr(listed)
    await store.delete(org_id, "b")
    await store.delete(org_id, "b")
    assert await store.names(org_id) == ["a", "c.d-e_f"]
    assert await store.read(org_id, "b") is None


@pytest.mark.parametrize("value", ["", "plain", "mit Umlaut ä 鍵", "two\nlines", '{"json": "inside"}', "x" * 100_000])
async def test_a_value_comes_back_as_it_was_written(store: SecretStore, name: str, value: str) -> None:
    """Any text is a value, and a second write replaces the first."""
    await store.write("acme", name, "before")
    await store.write("acme", name, value)
    assert await store.read("acme", name) == value


async def test_a_value_that_was_read_is_masked_from_then_on(store: SecretStore, name: str) -> None:
    """The redaction net knows a value before anybody sees it."""
    value = uuid.uuid4().hex
    await store.write("acme", name, value)
    assert redaction.mask(await store.get("acme", name)) == redaction.MASK


# Vault only ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(vault_server: VaultServer) -> Api:
    return Api(vault_server)


async def test_secrets_lie_where_the_design_says(vault_secrets: VaultSecrets, api: Api, name: str) -> None:
    """`<mount>/data/<prefix>/<organization>/<name>`, under the key `value`: other tools rely on it."""
    await vault_secrets.write("acme", name, "for acme")
    answer = await api.ask("GET", f"secret/data/bifrost/acme/{name}")
    assert answer.json()["data"]["data"] == {"value": "for acme"}
    assert vault_secrets.place("acme", name) == f"secret/bifrost/acme/{name}"


async def test_delete_removes_every_version(vault_secrets: VaultSecrets, api: Api, name: str) -> None:
    """Nothing of a deleted secret can be restored."""
    await vault_secrets.write("acme", name, "first")
    await vault_secrets.write("acme", name, "second")
    await vault_secrets.delete("acme", name)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await api.ask("GET", f"secret/metadata/bifrost/acme/{name}")


async def test_a_version_that_somebody_deleted_is_no_secret(vault_secrets: VaultSecrets, api: Api, name: str) -> None:
    """A soft-deleted version in Vault counts as absent, without a warning; it is still listed, without a time."""
    await vault_secrets.write(name, name, "first")
    await api.ask("DELETE", f"secret/data/bifrost/{name}/{name}")
    assert await vault_secrets.read(name, name) is None
    assert await vault_secrets.listed(name) == [KeptSecret(name, 1, None)]
    await vault_secrets.delete(name, name)
    assert await vault_secrets._kept(name, f"bifrost/{name}/{name}") is None  # as where it is deleted while it is listed


async def test_folders_below_an_organization_are_no_names(vault_secrets: VaultSecrets, api: Api, name: str) -> None:
    """`names` lists secrets, not folders that other tools made."""
    await api.ask("POST", f"secret/data/bifrost/{name}/folder/inner", {"data": {"value": "x"}})
    await api.ask("POST", f"secret/data/bifrost/{name}/plain", {"data": {"value": "x"}})
    assert await vault_secrets.names(name) == ["plain"]


@pytest.mark.parametrize("held", [{}, {"password": "hunter2hunter2"}, {"value": 271828}, {"value": {"a": "hunter2hunter2"}},
                                  {"value": None}])
async def test_a_secret_without_text_under_value_is_refused(vault_secrets: VaultSecrets, api: Api, name: str,
                                                            held: dict[str, object]) -> None:
    """The error names the path and the key that is expected, and never what is there."""
    await api.ask("POST", f"secret/data/bifrost/acme/{name}", {"data": held})
    with pytest.raises(ConfigurationError, match=f"secret/bifrost/acme/{name}") as caught:
        await vault_secrets.get("acme", name)
    assert "'value'" in str(caught.value)
    assert "hunter2" not in str(caught.value.to_dict())
    assert "271828" not in str(caught.value.to_dict())


async def test_a_missing_token_is_refused_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token nothing can be read; the error says which variable to set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="VAULT_TOKEN") as caught:
        VaultSecrets.from_settings(Settings())
    assert caught.value.config_key == "VAULT_TOKEN"


async def test_a_token_that_may_not_read_is_refused(vault_settings: Settings, api: Api, name: str) -> None:
    """Vault's 403 is a `PermissionError` that names the path and the rule that a policy lacks, for every operation."""
    token = await api.token('path "secret/data/bifrost/acme/*" { capabilities = ["read"] }')
    store = VaultSecrets.from_settings(replace(vault_settings, vault_token=token))
    await VaultSecrets.from_settings(vault_settings).write("acme", name, "for acme")
    assert await store.get("acme", name) == "for acme"
    for refused in (store.get("globex", name), store.write("globex", name, "x"), store.delete("globex", name)):
        with pytest.raises(PermissionError, match=f"secret/bifrost/globex/{name}"):
            await refused
    with pytest.raises(PermissionError, match=r'secret/bifrost/acme: .* It takes: path "secret/metadata/bifrost/acme/" {.*"list"'):
        await store.names("acme")


async def test_a_token_that_vault_does_not_know_is_refused(vault_settings: Settings) -> None:
    """An expired or invented token is a `PermissionError`, which is not retried; its text stays out of it."""
    store = VaultSecrets.from_settings(replace(vault_settings, vault_token="s.inventedtoken"))
    with pytest.raises(PermissionError, match="token has expired") as caught:
        await store.get("acme", "a")
    assert "inventedtoken" not in str(caught.value.to_dict())


@pytest.mark.parametrize("mount", ["nowhere", "identity", "sys"])
async def test_a_mount_without_a_kv_engine_is_a_configuration_error(vault_settings: Settings, mount: str) -> None:
    """A wrong mount is not taken for an absent secret; the error says which variable to set."""
    store = VaultSecrets.from_settings(replace(vault_settings, vault_mount=mount))
    with pytest.raises(ConfigurationError, match="BIFROST_VAULT_MOUNT"):
        await store.read("acme", "a")


async def test_a_server_that_is_down_is_a_retryable_error(vault_settings: Settings) -> None:
    """Nobody listens: an `IntegrationError` without a status, at once."""
    store = VaultSecrets.from_settings(replace(vault_settings, vault_addr=f"http://127.0.0.1:{free_port()}"), patience=0)
    async with asyncio.timeout(5):
        for failing in (store.get("acme", "a"), store.write("acme", "a", "hunter2hunter2"), store.names("acme")):
            with pytest.raises(IntegrationError, match="cannot be reached") as caught:
                await failing
            assert (caught.value.integration, caught.value.status_code) == ("vault", None)
            assert "hunter2" not in str(caught.value.to_dict())


@pytest.mark.parametrize(("status", "body", "expected"), [
    (502, "<html>Bad Gateway</html>", 502), (500, '{"errors": ["storage is full"]}', 500), (200, "<html>Log in</html>", 502),
    (200, '["no object"]', 502), (429, "[]", 429)])
async def test_what_is_not_vaults_answer_is_an_error(vault_settings: Settings, status: int, body: str,
                                                     expected: int) -> None:
    """A proxy's error page or log-in page is an `IntegrationError` with a status, not a crash and not an absent secret."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Some reason\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = VaultSecrets.from_settings(replace(vault_settings, vault_addr=f"http://127.0.0.1:{port}"), patience=0)
        with pytest.raises(IntegrationError) as caught:
            await store.read("acme", "a")
    assert (caught.value.integration, caught.value.status_code) == ("vault", expected)


@pytest.mark.parametrize("change", [{"vault_addr": "127.0.0.1:8200"}, {"vault_cacert": "absent.pem"}])
async def test_settings_that_cannot_work_are_a_configuration_error(vault_settings: Settings,
                                                                   change: dict[str, str]) -> None:
    """An address without a scheme, or a certificate file that is absent, is not retried."""
    address = {"vault_addr": "https://127.0.0.1:1"} if "vault_cacert" in change else {}
    store = VaultSecrets.from_settings(replace(vault_settings, **address, **change))
    with pytest.raises(ConfigurationError, match="VAULT_ADDR"):
        await store.read("acme", "a")


async def test_a_connection_without_trusted_tls_is_a_configuration_error(vault_settings: Settings) -> None:
    """A certificate that is not trusted, or https where plain HTTP is spoken, will not mend itself by retrying."""
    address = vault_settings.vault_addr.replace("http://", "https://")
    store = VaultSecrets.from_settings(replace(vault_settings, vault_addr=address))
    with pytest.raises(ConfigurationError, match="VAULT_CACERT"):
        await store.read("acme", "a")


async def test_a_value_is_remembered_until_it_is_flushed(vault_settings: Settings, api: Api, name: str) -> None:
    """Within the cache's time Vault is not asked again, and `flush` ends that."""
    store = VaultSecrets.from_settings(replace(vault_settings, secret_cache_seconds=600))
    assert await store.read("acme", name) is None
    for value in ("first", "second"):
        await api.ask("POST", f"secret/data/bifrost/acme/{name}", {"data": {"value": value}})
        assert await store.read("acme", name) != value
        store.flush()
        assert await store.read("acme", name) == value


async def test_the_absence_of_a_secret_is_remembered_for_a_moment(vault_settings: Settings, api: Api, name: str,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets what was missing need not wait for the cache; values are remembered no longer than the cache's time."""
    assert vault.MISSING_SECONDS <= 2
    monkeypatch.setattr(vault, "MISSING_SECONDS", 0)
    store = VaultSecrets.from_settings(vault_settings, cache_seconds=0.05)
    for value in (None, "first", "second"):
        if value:
            await api.ask("POST", f"secret/data/bifrost/acme/{name}", {"data": {"value": value}})
        await until(lambda value=value: _reads(store, name, value), seconds=5)


async def _reads(store: SecretStore, name: str, expected: str | None) -> bool:
    return await store.read("acme", name) == expected


async def test_without_cache_every_read_asks(vault_settings: Settings, api: Api, name: str) -> None:
    """`cache_seconds=0` remembers nothing."""
    store = VaultSecrets.from_settings(vault_settings, cache_seconds=0)
    for value in ("first", "second"):
        await api.ask("POST", f"secret/data/bifrost/acme/{name}", {"data": {"value": value}})
        assert await store.read("acme", name) == value


async def test_own_writes_are_seen_at_once(vault_settings: Settings, name: str) -> None:
    """A write or a delete through the store forgets what it remembered."""
    store = VaultSecrets.from_settings(vault_settings, cache_seconds=600)
    await store.write("acme", name, "first")
    assert await store.read("acme", name) == "first"
    await store.write("acme", name, "second")
    assert await store.read("acme", name) == "second"
    await store.delete("acme", name)
    assert await store.read("acme", name) is None


async def test_a_read_that_a_write_overtook_is_not_remembered(vault_settings: Settings, name: str) -> None:
    """However reads and writes overlap, the cache never keeps the older value."""
    store = VaultSecrets.from_settings(vault_settings, cache_seconds=600)
    for number in range(20):
        reading = asyncio.gather(*(store.read("acme", name) for _ in range(3)))
        await store.write("acme", name, f"value {number}")
        await reading
        assert await store.read("acme", name) == f"value {number}"


async def test_the_cache_is_bounded(vault_settings: Settings) -> None:
    """The oldest entries make room for new ones."""
    store = VaultSecrets.from_settings(vault_settings, cache_seconds=600)
    store._cache_entries = 3
    for number in range(5):
        await store.read("acme", f"absent{number}")
    assert [name for _, name in store._cache] == ["absent2", "absent3", "absent4"]


async def test_concurrent_readers_share_one_request(vault_settings: Settings, name: str) -> None:
    """A burst of calls for one secret is one request; a reader that is cancelled does not take it from the others."""
    requests = 0
    held = '{"data": {"data": {"value": "for acme"}}}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += b"/v1/secret/" in await reader.readuntil(b"\r\n\r\n")
        await release.wait()
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(held)}\r\nConnection: close\r\n\r\n{held}".encode())
        await writer.drain()
        writer.close()

    release = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = VaultSecrets.from_settings(replace(vault_settings, vault_addr=f"http://127.0.0.1:{port}"))
        readers = [asyncio.create_task(store.read("acme", name)) for _ in range(20)]
        await asyncio.sleep(0)
        readers[0].cancel()
        release.set()
        answers = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert set(answers[1:]) == {"for acme"}
    assert requests == 1
