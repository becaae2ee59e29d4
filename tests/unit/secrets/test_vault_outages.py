"""Vault sealed, restarted, slow, and behind TLS: what a user sees of it, on a server of these tests' own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.secrets.vault import VaultSecrets
from bifrost.secrets.vault_connection import VaultConnection
from bifrost.settings import Settings
from bifrost.temporal.failures import may_retry
from tests.certificates import Authority
from tests.vault_api import Api
from tests.waiting import until

NAME = "vault.test"


class TlsVaultServer(VaultServer):
    """A server that listens on a second port, too, with TLS: a certificate for `vault.test`, and none for the address."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        super().__init__(directory, port=free_port())
        self.tls_port = next(port for port in iter(free_port, None) if port != self._port)
        self.authority_file = directory / "authority.pem"
        self._certificate, self._key = directory / "certificate.pem", directory / "key.pem"
        self.authority_file.write_text(authority.certificate)
        for file, text in zip((self._certificate, self._key), authority.issue(NAME), strict=True):
            file.write_text(text)

    def _write_config(self) -> Path:
        path = super()._write_config()
        config = json.loads(path.read_text())
        config["listener"] = [config["listener"], {"tcp": {
            "address": f"{LOOPBACK}:{self.tls_port}", "cluster_address": f"{LOOPBACK}:{free_port()}",
            "tls_cert_file": str(self._certificate), "tls_key_file": str(self._key)}}]
        path.write_text(json.dumps(config))
        return path


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> AsyncIterator[TlsVaultServer]:
    async with TlsVaultServer(tmp_path_factory.mktemp("vault"), authority) as server:
        await VaultSecrets.from_settings(Settings(vault_addr=server.address, vault_token=server.token)).write("acme", "a", "for acme")
        yield server


@pytest.fixture
def connected(server: TlsVaultServer) -> Settings:
    return Settings(vault_addr=server.address, vault_token=server.token, secret_cache_seconds=0)


def _attempts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows with each attempt of a request."""
    attempts: list[object] = []
    original = VaultConnection._attempt

    def counted(self: VaultConnection, *args: object) -> object:
        try:
            return original(self, *args)
        finally:
            attempts.append(args)

    monkeypatch.setattr(VaultConnection, "_attempt", counted)
    return attempts


async def _tried(attempts: list[object]) -> None:
    async def tried() -> bool:
        return bool(attempts)

    await until(tried)


async def test_a_sealed_vault_is_waited_for_and_then_named(server: TlsVaultServer, connected: Settings,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads while Vault is sealed gets the value when it is unsealed in time; else an error that says so and may be retried."""
    attempts = _attempts(monkeypatch)
    await Api(server).ask("PUT", "sys/seal")
    try:
        for patience, said in ((0, "until an operator unseals it$"), (0.2, r"unseals it; tried \d+ times in 0\.\d seconds$")):
            with pytest.raises(IntegrationError, match=f"Vault at {server.address} is sealed.*{said}") as caught:
                await VaultSecrets.from_settings(connected, patience=patience).get("acme", "a")
            assert caught.value.status_code == 503
            assert may_retry(caught.value)
        attempts.clear()
        reading = asyncio.create_task(VaultSecrets.from_settings(connected, patience=30).get("acme", "a"))
        await _tried(attempts)
    finally:
        await Api(server).ask("PUT", "sys/unseal", {"key": server._read_keys()[0]})
    assert await reading == "for acme"
    assert len(attempts) > 1


async def test_a_restart_is_waited_out(server: TlsVaultServer, connected: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody listens an error may be retried; whoever waits, with a session from before, gets the value when Vault is back."""
    attempts = _attempts(monkeypatch)
    store = VaultSecrets.from_settings(connected, patience=30)
    assert await store.get("acme", "a") == "for acme"
    await server.kill()
    try:
        with pytest.raises(IntegrationError, match=r"cannot be reached: ConnectionError$") as caught:
            await VaultSecrets.from_settings(connected, patience=0).get("acme", "a")
        assert caught.value.status_code is None
        assert may_retry(caught.value)
        attempts.clear()
        reading = asyncio.create_task(store.get("acme", "a"))
        await _tried(attempts)
    finally:
        await server.start()
    assert await reading == "for acme"


async def test_a_slow_vault_is_given_up_and_asked_again(server: TlsVaultServer, connected: Settings) -> None:
    """An answer that takes longer than the time-out is an error that may be retried; it holds nobody else up."""
    slow, connections = True, 0

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if slow:
            await reader.read()  # until the other side gives up
        else:
            to = await asyncio.open_connection(LOOPBACK, server._port)
            await asyncio.gather(_copy(reader, to[1]), _copy(to[0], writer))
        writer.close()

    async with await asyncio.start_server(forward, LOOPBACK, 0) as proxy:
        address = f"http://{LOOPBACK}:{proxy.sockets[0].getsockname()[1]}"
        behind = replace(connected, vault_addr=address)
        with pytest.raises(IntegrationError, match=f"Vault at {address} cannot be reached: ReadTimeout") as caught:
            await VaultSecrets.from_settings(behind, patience=0, timeout=(1, 0.1)).get("acme", "a")
        assert may_retry(caught.value)
        store, connections = VaultSecrets.from_settings(behind, patience=30, timeout=(1, 0.5)), 0
        reading = [asyncio.create_task(store.get("acme", f"a{number}" if number else "a")) for number in range(20)]
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "a thread is free"), 5)

        async def asked() -> bool:
            return connections > 0

        await until(asked)
        slow = False
        assert await reading[0] == "for acme"
        await asyncio.gather(*reading[1:], return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(65_536):
        writer.write(some)
        await writer.drain()
    writer.close()


async def test_a_certificate_of_a_private_authority_is_trusted_if_it_is_named(server: TlsVaultServer, connected: Settings) -> None:
    """`VAULT_CACERT` names the authority, `VAULT_TLS_SERVER_NAME` what the certificate is for; without either there is no connection."""
    astray = replace(connected, vault_addr=f"https://{LOOPBACK}:{server.tls_port}")
    named = replace(astray, vault_tls_server_name=NAME)
    trusting = replace(astray, vault_cacert=str(server.authority_file))
    assert await VaultSecrets.from_settings(replace(named, vault_cacert=str(server.authority_file))).get("acme", "a") == "for acme"
    for wrong in (astray, named, trusting, replace(trusting, vault_tls_server_name="another.test")):
        with pytest.raises(ConfigurationError, match=r"no trusted TLS connection .*VAULT_CACERT.*VAULT_TLS_SERVER_NAME") as caught:
            await VaultSecrets.from_settings(wrong).get("acme", "a")
        assert not may_retry(caught.value)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
async def test_any_certificate_is_taken_if_nothing_is_to_be_verified(server: TlsVaultServer, connected: Settings) -> None:
    """`VAULT_SKIP_VERIFY` goes before everything that would be trusted."""
    careless = replace(connected, vault_addr=f"https://{LOOPBACK}:{server.tls_port}", vault_skip_verify=True, vault_cacert="absent.pem")
    assert await VaultSecrets.from_settings(careless).get("acme", "a") == "for acme"


@pytest.mark.parametrize(("given", "verify"), [
    ({}, True), ({"vault_capath": "folder"}, "folder"), ({"vault_capath": "folder", "vault_cacert": "file"}, "file"),
    ({"vault_cacert": "file", "vault_skip_verify": True}, False)])
def test_the_authorities_are_those_that_vaults_command_line_takes(given: dict[str, str], verify: bool | str) -> None:
    """A file goes before a folder; without either the usual authorities are trusted."""
    connection = VaultConnection.from_settings(Settings(vault_token="t", **given))
    client = connection._clients("t")
    assert client.session.verify == client.adapter._kwargs["verify"] == verify
