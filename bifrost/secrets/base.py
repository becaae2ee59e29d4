"""The port to wherever secrets are kept."""

from __future__ import annotations

import abc
import re

from bifrost import redaction
from bifrost.errors import ValidationError
from bifrost.models import GLOBAL

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_segment(kind: str, text: str) -> str:
    """`text`, if it may be one segment of a secret's path: letters, digits, `_`, `-` and `.`, no dot or dash first.

    Raises:
        ValidationError: it may not. So a name never reaches into another organization's folder.
    """
    if not _SEGMENT.fullmatch(text):
        raise ValidationError(f"Invalid {kind} {text!r}: use letters, digits, '_', '-' and '.', "
                              "and begin with a letter, digit or '_'", field=kind.replace(" ", "_"))
    return text


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
    async def write(self, scope: str, name: str, value: str) -> None:
        """Set the value in this scope."""

    @abc.abstractmethod
    async def delete(self, scope: str, name: str) -> None:
        """Remove the secret from this scope; it is no error if there is none."""

    @abc.abstractmethod
    async def names(self, scope: str) -> list[str]:
        """The names of the secrets in this scope, sorted."""

    @abc.abstractmethod
    def place(self, scope: str, name: str) -> str:
        """How this store calls the place of a secret, for messages."""

    async def get(self, org_id: str | None, name: str) -> str:
        """The organization's secret, else the global one; never another organization's.

        The value is remembered by the redaction net before anybody sees it.

        Raises:
            KeyError: neither place has it; names both.
            ValidationError: the name or the organization's id cannot be part of a path.
        """
        check_segment("secret name", name)
        scopes = [check_segment("organization id", org_id)] if org_id and org_id != GLOBAL else []
        scopes.append(GLOBAL)
        for scope in scopes:
            value = await self.read(scope, name)
            if value is not None:
                redaction.remember(value)
                return value
        tried = " and ".join(self.place(scope, name) for scope in scopes)
        raise KeyError(f"Secret '{name}' not found; tried {tried}")
