"""Data keys from Vault's transit engine (OpenBao speaks the same API): Vault keeps one key for each organization and never gives it out.

`new` answers a fresh data key, and the same key wrapped by the organization's; `unwrap` is the way back, as long as the
organization's key exists (https://developer.hashicorp.com/vault/api-docs/secret/transit). An organization's key is made when it
is first needed. Whoever deletes it makes everything that was encrypted for the organization unreadable, for ever:

    bao write transit/keys/bifrost-acme/config deletion_allowed=true
    bao delete transit/keys/bifrost-acme
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final, Self

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.models import GLOBAL
from bifrost.secrets.vault_connection import Access, VaultConnection
from bifrost.settings import Settings

PREFIX: Final = "bifrost-"
"""What the names of keys begin with; the organization's id follows, or GLOBAL."""
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def key_name(org_id: str) -> str:
    """The name of an organization's key: GLOBAL's, where Vault does not take a name that ends in this id.

    It takes letters, digits, `_`, `-` and `.`, the last two not at the end.
    """
    return PREFIX + (org_id if _NAME.fullmatch(org_id) else GLOBAL)


class VaultTransit:
    """A transit engine.

    Args:
        connection: The way to Vault.
        mount: Where the engine is mounted.
    """

    def __init__(self, connection: VaultConnection, mount: str) -> None:
        self._connection = connection
        self._mount = mount.strip("/")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The engine that the settings describe. Nothing is asked of Vault yet, and what is asked is asked once.

        Raises:
            ConfigurationError: there is no way to log in, or several.
        """
        return cls(VaultConnection.from_settings(settings, patience=0), settings.vault_transit)

    async def new(self, name: str) -> tuple[bytes, str]:
        """A fresh data key of 256 bits, and how Vault wraps it. The key that wraps it is made if there is none.

        Raises:
            IntegrationError: Vault cannot be reached or failed; may be tried again.
            PermissionError: Vault refuses.
            ConfigurationError: there is no transit engine at the mount.
        """
        try:
            made = await self._ask("datakey/plaintext", name, bits=256)
        except NotFoundError:
            await self._ask("keys", name)
            made = await self._ask("datakey/plaintext", name, bits=256)
        return base64.b64decode(made["plaintext"]), str(made["ciphertext"])

    async def unwrap(self, name: str, wrapped: str) -> bytes:
        """The data key that `new` answered.

        Raises:
            NotFoundError: the key that wrapped it is gone, or is another one now.
            IntegrationError: Vault cannot be reached or failed; may be tried again.
            PermissionError: Vault refuses.
            ConfigurationError: there is no transit engine at the mount.
        """
        return base64.b64decode((await self._ask("decrypt", name, ciphertext=wrapped))["plaintext"])

    async def _ask(self, operation: str, name: str, **sent: Any) -> dict[str, Any]:
        path = f"{self._mount}/{operation}/{name}"
        access = Access(path, f"{self._mount}/{operation}/{PREFIX}*", ("create", "update") if operation == "keys" else ("update",))
        answer = await self._connection.ask(lambda vault: vault.adapter.post(url=f"/v1/{path}", json=sent), access)
        if answer.status == 400:
            raise NotFoundError(f"What was encrypted with the key '{name}' cannot be read: Vault does not have the key, or has another "
                                f"one of this name now ({answer.reason})", kind="encryption key", name=name, near=[])
        if answer.status == 404:
            raise ConfigurationError(f"Vault has no transit engine mounted at '{self._mount}' ({answer.reason}): mount one there, or "
                                     "set BIFROST_VAULT_TRANSIT", config_key="BIFROST_VAULT_TRANSIT")
        found: dict[str, Any] = answer.required(access).get("data") or {}
        return found
