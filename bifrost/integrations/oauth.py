"""OAuth client credentials: a token for the program itself, fetched when it is needed and kept until it runs out.

RFC 6749 section 4.4, https://www.rfc-editor.org/rfc/rfc6749#section-4.4
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from bifrost import redaction
from bifrost.context import OrganizationContext
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.integrations.http import endpoint, refused, unreachable
from bifrost.models import GLOBAL, OAuthCredentials, Secret

LEEWAY_SECONDS = 60
"""How long before its expiry a token is no longer used; a tenth of its life where that is less."""


class ClientCredentials:
    """The tokens of one client at one token endpoint. Many tasks may ask at once; one request is made.

    Args:
        token_url: The token endpoint.
        client_id: The client.
        client_secret: Its secret; masked from now on wherever it would be written.
        scope: What the token is for, as the server spells it; empty leaves it to the server.
        name: What errors call it, and the connection's name in `credentials`.
        timeout: How long connecting, and each wait for the answer, may take, in seconds.
        transport: An httpx transport in place of the network's.
        clock: Seconds that only ever grow.
    """

    def __init__(self, token_url: str, client_id: str, client_secret: str, scope: str = "", *, name: str = "oauth",
                 timeout: float = 30, transport: httpx.AsyncBaseTransport | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        redaction.remember(client_secret)
        self._url = token_url
        self._form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret,
                      **({"scope": scope} if scope else {})}
        self._scope = scope
        self._name = name
        self._timeout = timeout
        self._transport = transport
        self._clock = clock
        self._lock = asyncio.Lock()
        self._credentials: OAuthCredentials | None = None
        self._usable_until = 0.0

    async def token(self) -> str:
        """The access token to use now; see `credentials`."""
        return (await self.credentials()).access_token

    async def credentials(self) -> OAuthCredentials:
        """The token to use now, with its type and expiry.

        A token whose life the server does not state is kept as long as this object.

        Raises:
            IntegrationError: the server refused (`status_code`, and OAuth's error code as `code` in `details`), could
                not be reached (no `status_code`), or answered no token.
            ConfigurationError: the token URL cannot be one.
        """
        async with self._lock:
            if self._credentials is None or self._clock() >= self._usable_until:
                asked_at = self._clock()
                answer = await self._fetch()
                life = _life(answer.get("expires_in"))
                self._credentials = self._read(answer, life)
                self._usable_until = asked_at + _usable(life)
            return self._credentials

    async def _fetch(self) -> Mapping[str, Any]:
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=self._timeout) as client:
                # The client names itself in the body, as the vendors document it, and not by HTTP Basic.
                response = await client.post(self._url, data=self._form, headers={"Accept": "application/json"})
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ConfigurationError(f"{self._name}: the token URL '{self._url}' is no http(s) URL") from error
        except httpx.RequestError as error:
            raise unreachable(self._name, "POST", httpx.URL(self._url), error) from error
        if response.status_code >= 400:
            raise refused(self._name, response)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
            path = endpoint(response.request.url)
            raise IntegrationError(f"{self._name}: POST {path} answered {response.status_code} without an access_token",
                                   integration=self._name, status_code=response.status_code, details={"endpoint": path})
        redaction.remember(answer["access_token"])
        return answer

    def _read(self, answer: Mapping[str, Any], life: float | None) -> OAuthCredentials:
        return OAuthCredentials(
            connection_name=self._name, access_token=answer["access_token"],
            token_type=str(answer.get("token_type") or "Bearer"),
            expires_at=datetime.now(UTC) + timedelta(seconds=life) if life is not None else None,
            scopes=str(answer.get("scope") or self._scope))


def _life(expires_in: Any) -> float | None:
    """The life of a token in seconds; None where the server states none, which RFC 6749 section 5.1 allows."""
    try:
        return max(float(expires_in), 0.0)
    except (TypeError, ValueError):
        return None


def _usable(life: float | None) -> float:
    return float("inf") if life is None else life - min(LEEWAY_SECONDS, life / 10)


def required(context: OrganizationContext, key: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """The configuration entry `key`, which must be a mapping that has all of `names`.

    Raises:
        ConfigurationError: it is not there or lacks some; names the organization and what is missing.
    """
    entry = context.get_config(key)
    place = f"Organization '{context.org_id}'" if context.org_id else f"The {GLOBAL} scope"
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{place} has no configuration '{key}'; it takes {', '.join(names)}", config_key=key,
                                 org_id=context.org_id, missing_keys=list(names))
    missing = [name for name in names if not entry.get(name)]
    if missing:
        raise ConfigurationError(f"{place}: the configuration '{key}' lacks {', '.join(missing)}",
                                 config_key=f"{key}.{missing[0]}", org_id=context.org_id, missing_keys=missing)
    return entry


async def referenced_secret(context: OrganizationContext, key: str, entry: Mapping[str, Any]) -> str:
    """The secret that `client_secret: {secret_ref: NAME}` of the configuration entry `key` refers to.

    Raises:
        ConfigurationError: it is no reference, or the secret is nowhere; the message never shows what stands there.
    """
    reference, config_key = entry.get("client_secret"), f"{key}.client_secret"
    if not isinstance(reference, Mapping) or not isinstance(reference.get("secret_ref"), str):
        raise ConfigurationError(f"The configuration '{config_key}' must refer to a secret: {{secret_ref: NAME}}; "
                                 "the secret itself belongs in Vault", config_key=config_key)
    try:
        value = await context.get_secret(reference["secret_ref"])
    except KeyError as error:
        raise ConfigurationError(f"The configuration '{config_key}' refers to a secret that is missing: "
                                 f"{error.args[0]}", config_key=config_key) from error
    assert not isinstance(value, Secret), "a workflow's context has handles and makes no requests"
    return value
