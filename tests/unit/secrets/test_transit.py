"""The transit engine of a real Vault: what each refusal says, and what a policy has to allow."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from bifrost.dev.ports import free_port
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError, PermissionError  # noqa: A004 - the name is the guide's
from bifrost.secrets.transit import VaultTransit
from bifrost.settings import Settings


async def test_a_data_key_comes_back(vault_settings: Settings) -> None:
    """The organization's key is made with the first; another one opens nothing, and neither does one that was never made."""
    transit = VaultTransit.from_settings(vault_settings)
    plain, wrapped = await transit.new("bifrost-transit_a")
    again, other = await transit.new("bifrost-transit_a")
    assert (len(plain), plain == again, wrapped == other) == (32, False, False)
    assert await transit.unwrap("bifrost-transit_a", wrapped) == plain
    await transit.new("bifrost-transit_b")
    for name, said in (("bifrost-transit_b", "message authentication failed"), ("bifrost-transit_c", "encryption key not found")):
        with pytest.raises(NotFoundError, match=f"with the key '{name}' cannot be read: .*{said}"):
            await transit.unwrap(name, wrapped)


async def test_a_refusal_says_what_to_do(vault_settings: Settings, vault_server: VaultServer) -> None:
    """No engine at the mount, a policy that does not allow it, nothing that answers."""
    with pytest.raises(ConfigurationError, match="no transit engine mounted at 'nowhere'") as refusal:
        await VaultTransit.from_settings(replace(vault_settings, vault_transit="nowhere")).new("bifrost-acme")
    assert refusal.value.config_key == "BIFROST_VAULT_TRANSIT"
    async with httpx.AsyncClient(base_url=f"{vault_server.address}/v1/", headers={"X-Vault-Token": vault_server.token}) as vault:
        token = (await vault.post("auth/token/create", json={"policies": ["default"]})).json()["auth"]["client_token"]
    with pytest.raises(PermissionError, match=r'path "transit/datakey/plaintext/bifrost-\*" \{ capabilities = \["update"\] \}'):
        await VaultTransit.from_settings(replace(vault_settings, vault_token=token)).new("bifrost-acme")
    with pytest.raises(IntegrationError, match="cannot be reached"):
        await VaultTransit.from_settings(replace(vault_settings, vault_addr=f"http://127.0.0.1:{free_port()}")).new("bifrost-acme")
