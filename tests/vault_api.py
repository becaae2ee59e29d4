"""Vault's own API, for what Bifrost does not do itself."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from bifrost.dev.vault_server import VaultServer


@dataclass
class Api:
    """The API of one server, asked with its root token unless with another."""

    server: VaultServer

    async def ask(self, method: str, path: str, body: object = None, *, token: str = "") -> httpx.Response:
        """One request, which must succeed."""
        async with httpx.AsyncClient(base_url=f"{self.server.address}/v1/", trust_env=False) as http:
            answer = await http.request(method, path, json=body, headers={"X-Vault-Token": token or self.server.token})
        answer.raise_for_status()
        return answer

    async def token(self, policy: str, **more: object) -> str:
        """A token with this policy and no other."""
        await self.ask("PUT", "sys/policies/acl/test", {"policy": policy})
        answer = await self.ask("POST", "auth/token/create", {"policies": ["test"], "no_default_policy": True, **more})
        return str(answer.json()["auth"]["client_token"])

    async def revoke(self, token: str) -> None:
        """Make a token worthless."""
        await self.ask("POST", "auth/token/revoke", {"token": token})

    async def enabled(self, method: str) -> None:
        """Have a login method, at its own name."""
        if f"{method}/" not in (await self.ask("GET", "sys/auth")).json()["data"]:
            await self.ask("POST", f"sys/auth/{method}", {"type": method})
