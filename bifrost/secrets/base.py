"""The port to wherever secrets are kept."""

from __future__ import annotations

import abc
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bifrost import redaction
from bifrost.errors import ValidationError
from bifrost.models import GLOBAL, Secret

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 255


def check_segment(kind: str, text: str) -> str:
    """`text`, if it may be one segment of a secret's path: letters, digits, `_`, `-` and `.`, no dot or dash first; 255 at most.

    Raises:
        ValidationError: it may not. So a name never reaches into another organization's folder.
    """
    if not _SEGMENT.fullmatch(text):
        raise ValidationError(f"Invalid {kind} {text[:_LONGEST]!r}: use letters, digits, '_', '-' and '.', "
                              "and begin with a letter, digit or '_'", field=kind.replace(" ", "_"))
    if len(text) > _LONGEST:
        raise ValidationError(f"Invalid {kind} '{text[:40]}…': it has {len(text)} characters, and may have {_LONGEST}",
                              field=kind.replace(" ", "_"))
    return text


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """What may be known of a secret by whoever may not know its value.

    Attributes:
        name: Its name.
        version: How often it was written since it was last deleted.
        set_at: When the current version was; None where somebody removed that version by other means than `delete`.
    """

    name: str
    version: int
    set_at: datetime | None


class SecretStore(abc.ABC):
    """Secrets by organization and name; GLOBAL is asked where the organization has none.

    Every method raises `ValidationError` for a scope or a name that `check_segment` refuses.
    """

    @abc.abstractmethod
    async def read(self, scope: str, name: str) -> str | None:
        """The value in exactly this scope (an organization's id or GLOBAL), or None.

        Raises:
            IntegrationError: the store cannot be reached or failed; may be retried.
            PermissionError: the store refuses; may not be retried.
        """

    @abc.abstractmethod
    async def write(self, scope: str, name: str, value: str) -> int:
        """Set the value in this scope; answers its version: 1 for a new secret, then one more each time."""

    @abc.abstractmethod
    async def delete(self, scope: str, name: str) -> None:
        """Remove the secret from this scope; it is no error if there is none."""

    @abc.abstractmethod
    async def names(self, scope: str) -> list[str]:
        """The names of the secrets in this scope, sorted."""

    @abc.abstractmethod
    async def listed(self, scope: str) -> list[KeptSecret]:
        """The secrets in this scope, sorted by name, without their values."""

    @abc.abstractmethod
    def place(self, scope: str, name: str) -> str:
        """How this store calls the place of a secret, for messages."""

    def forget(self, scope: str, name: str) -> None:  # noqa: B027 - most have nothing to forget
        """Have the next read ask the store itself, where this adapter remembers values; by default it does not."""

    async def get(self, org_id: str | None, name: str) -> str:
        """The organization's secret, else the global one; never another organization's.

        The value is remembered by the redaction net before anybody sees it.

        Raises:
            KeyError: neither place has it; names both.
            ValidationError: the name or the organization's id cannot be part of a path.
        """
        return (await self.find(org_id, name))[1]

    async def find(self, org_id: str | None, name: str) -> tuple[str, str]:
        """What `get` answers, after the scope that has it: the organization's id, or GLOBAL."""
        check_segment("secret name", name)
        scopes = [check_segment("organization id", org_id)] if org_id and org_id != GLOBAL else []
        scopes.append(GLOBAL)
        for scope in scopes:
            value = await self.read(scope, name)
            if value is not None:
                redaction.remember(value)
                return scope, value
        tried = " and ".join(self.place(scope, name) for scope in scopes)
        raise KeyError(f"Secret '{name}' not found; tried {tried}")


async def revealed(value: Any, value_of: Callable[[Secret], Awaitable[str]]) -> Any:
    """What a call is given, with the value of each secret in place of its handle, at any depth."""
    if handle := Secret.from_wire(value):
        return await value_of(handle)
    if isinstance(value, dict):
        return {key: await revealed(item, value_of) for key, item in value.items()}
    return [await revealed(item, value_of) for item in value] if isinstance(value, list) else value
