"""Secrets that are replaced as they are used, such as refresh tokens: nothing of them may get lost on the way to the store."""

from __future__ import annotations

import asyncio

from bifrost import redaction
from bifrost.secrets.base import SecretStore


class RotatingSecret:
    """One secret in one scope of a store; see `RotatingSecrets.find`.

    Attributes:
        place: How the store calls it, for messages.
        lock: To be held from reading the value until `rotated` has been told the next one: what is used twice at once may be
            taken for stolen.
    """

    def __init__(self, secrets: SecretStore, scope: str, name: str) -> None:
        self.place = secrets.place(scope, name)
        self.lock = asyncio.Lock()
        self._secrets = secrets
        self._scope = scope
        self._name = name
        self._unwritten: tuple[str, str] | None = None  # what it takes the place of, and the value itself

    async def value(self) -> str:
        """The value now: the store's, whatever this process remembers of it, or one that waits to take its place there.

        Raises:
            KeyError: the store no longer has it.
        """
        stored = await self._stored()
        if stored is None:
            raise KeyError(f"Secret '{self._name}' not found; it was removed from {self.place}")
        return self._unwritten[1] if self._unwritten and self._unwritten[0] == stored else stored

    def rotated(self, used: str, following: str) -> None:
        """Keep the value that follows the one that was used, until `settle` has written it."""
        redaction.remember(following)
        waiting = self._unwritten
        self._unwritten = (waiting[0] if waiting and waiting[1] == used else used, following)

    async def settle(self) -> None:
        """Write the value that waits, if one does and nobody else has changed or removed what it takes the place of.

        Raises:
            WorkflowException: what the store raises; the value waits on.
        """
        async with self.lock:
            if self._unwritten:
                before, following = self._unwritten
                if await self._stored() == before:
                    await self._secrets.write(self._scope, self._name, following)
                self._unwritten = None

    async def _stored(self) -> str | None:
        self._secrets.forget(self._scope, self._name)
        stored = await self._secrets.read(self._scope, self._name)
        if stored is not None:
            redaction.remember(stored)
        return stored


class RotatingSecrets:
    """The rotating secrets of a store, each one object, whichever organizations of this process use it."""

    def __init__(self, secrets: SecretStore) -> None:
        self._secrets = secrets
        self._known: dict[tuple[str, str], RotatingSecret] = {}

    async def find(self, org_id: str | None, name: str) -> RotatingSecret:
        """The organization's, else the global one.

        Raises:
            KeyError: neither place has it; names both.
            ValidationError: the name or the organization's id cannot be part of a path.
        """
        scope, _ = await self._secrets.find(org_id, name)
        if (scope, name) not in self._known:
            self._known[scope, name] = RotatingSecret(self._secrets, scope, name)
        return self._known[scope, name]
