"""How Microsoft Graph is spoken to: paths, queries and bodies as it wants them, answers and refusals as it words them."""

from __future__ import annotations

import re
import secrets
import string
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from bifrost import redaction
from bifrost.errors import IntegrationError, ValidationError
from bifrost.integrations.answers import unreadable
from bifrost.record import Record, camel, record

_PASSWORD_LENGTH = 24
_SYMBOLS = "!#$%*+-=?@_"
# Graph's rule for mailNickname: ASCII without these, at most 64 characters.
_NOT_IN_NICKNAME = re.compile(r'[^\x21-\x7e]|[@()\\\[\]";:<>,]')


def segment(text: str) -> str:
    """`text` as one segment of a path, whatever is in it."""
    return quote(text, safe="@")


def user_path(id_or_upn: str) -> str:
    """Where a user is found, by id or user principal name.

    A name that begins with $ is only found in the form with parentheses:
    https://learn.microsoft.com/en-us/graph/api/user-get?view=graph-rest-1.0
    """
    return f"users('{segment(id_or_upn)}')" if id_or_upn.startswith("$") else f"users/{segment(id_or_upn)}"


def query(*, select: str | Sequence[str] | None = None, **options: Any) -> dict[str, Any] | None:
    """The query options that are given, as OData spells them."""
    given = {"select": select if isinstance(select, str | None) else ",".join(select), **options}
    return {f"${name}": value for name, value in given.items() if value is not None} or None


def text(value: str) -> str:
    """`value` as a constant in a filter, where a quote is doubled."""
    return "'{}'".format(value.replace("'", "''"))


def page_size(method: str, top: int | None, largest: int) -> int | None:
    """How many items a page shall have when `top` are wanted in all.

    Raises:
        ValidationError: `top` is less than 1.
    """
    if top is not None and top < 1:
        raise ValidationError(f"msgraph.{method}: top must be at least 1", field="top")
    return min(top, largest) if top else None


def camel_keys(properties: Mapping[str, Any]) -> dict[str, Any]:
    """`properties` under the names that Graph has for them."""
    return {camel(name): value for name, value in properties.items()}


def nickname_of(local_part: str) -> str:
    """What of an email address's first half can be a `mailNickname`; may be empty."""
    return _NOT_IN_NICKNAME.sub("", local_part)[:64]


def is_guid(text: str) -> bool:
    """Whether `text` is an id, and no name."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def read(response: httpx.Response) -> Record:
    """The object that was answered.

    Raises:
        IntegrationError: it is none; a proxy's page, for instance.
    """
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise unreadable("msgraph", response, "with something that is no JSON object")
    result: Record = record(answer)
    return result


# Graph tells these apart from other bad requests by their sentence alone; the codes are the same.
def is_taken(error: IntegrationError) -> bool:
    """Whether a user principal name belongs to another user."""
    return error.status_code in (400, 409) and "userprincipalname already exists" in error.message.lower()


def is_member_already(error: IntegrationError) -> bool:
    """Whether somebody who should become a member is one."""
    return error.status_code == 400 and "object references already exist" in error.message.lower()


def has_no_such_license(error: IntegrationError) -> bool:
    """Whether a licence that should be taken away is not there."""
    return error.status_code == 400 and "does not have a corresponding license" in error.message.lower()


def initial_password() -> str:
    """A random password with characters of all four kinds, of which Entra demands three.

    https://learn.microsoft.com/en-us/entra/identity/authentication/concept-password-ban-bad-combined-policy
    """
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)
    characters = [secrets.choice(kind) for kind in kinds]
    characters += [secrets.choice("".join(kinds)) for _ in range(_PASSWORD_LENGTH - len(kinds))]
    secrets.SystemRandom().shuffle(characters)
    password = "".join(characters)
    redaction.remember(password)
    return password
