"""OAuth 2: tokens for the program itself, fetched when they are needed and kept until shortly before they run out.

Client credentials and refresh tokens, RFC 6749 sections 4.4 and 6: https://www.rfc-editor.org/rfc/rfc6749.

Authlib would be the library for this, but its client for httpx is deprecated in favour of another HTTP library, drops the status
and the `Retry-After` of a refusal, by which calls are retried here, and takes `expires_in: 0` for "never". What is hard would be
left to this module even so: one request for many callers, refresh tokens that several workers share and that are stored before
anything relies on them, and callers that are cancelled while one is exchanged.
"""

from __future__ import annotations

import abc
import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from bifrost import redaction
from bifrost.context import OrganizationContext
from bifrost.errors import ConfigurationError, IntegrationError, WorkflowException
from bifrost.integrations.answers import beginning, refused, unreachable, unreadable
from bifrost.integrations.http import open_client
from bifrost.models import GLOBAL, OAuthCredentials, Secret
from bifrost.secrets.rotating import RotatingSecret

LEEWAY_SECONDS = 60
"""How long before its expiry a token is no longer used; a tenth of its life where that is less."""


class TokenEndpoint(abc.ABC):
    """The tokens of one client at one token endpoint. Many tasks may ask at once; one request is made.

    Args:
        token_url: The token endpoint.
        client_id: The client.
        client_secret: Its secret, masked from now on wherever it would be written; None for a public client.
        scope: What the token is for, as the server spells it; empty leaves it to the server.
        name: What errors call it, and the connection's name in `credentials`.
        timeout: How long connecting, and each wait for the answer, may take, in seconds.
        transport: An httpx transport in place of the network's.
        clock: Seconds that only ever grow.
    """

    def __init__(self, token_url: str, client_id: str, client_secret: str | None, scope: str = "", *, name: str = "oauth",
                 timeout: float = 30, transport: httpx.AsyncBaseTransport | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if client_secret is not None:
            redaction.remember(client_secret)
        self._url = token_url
        # The client names itself in the body, as the vendors document it, and not by HTTP Basic.
        self._client = {"client_id": client_id, **({} if client_secret is None else {"client_secret": client_secret}),
                        **({"scope": scope} if scope else {})}
        self._scope = scope
        self._name = name
        self._timeout = timeout
        self._transport = transport
        self._clock = clock
        self._held: OAuthCredentials | None = None
        self._usable_until = float("-inf")
        self._renewing: asyncio.Task[OAuthCredentials] | None = None

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
        if self._held and self._is_usable():
            return self._held
        if self._renewing is None:
            # A task of its own: whoever asked first may be cancelled, and a token that was exchanged must not get lost so.
            self._renewing = asyncio.create_task(self._renew())
            self._renewing.add_done_callback(self._renewed)
        try:
            return await asyncio.shield(self._renewing)
        except WorkflowException as error:
            # Each caller's own: calls note in its `details` what became of them.
            raise copy.copy(error).with_traceback(error.__traceback__) from error.__cause__

    def forget(self, access_token: str) -> None:
        """Use this token no more, if it is the one in use: it was refused before its time."""
        if self._held and self._held.access_token == access_token:
            self._held = None

    @abc.abstractmethod
    async def _obtain(self) -> Mapping[str, Any]:
        """The server's answer with a new token."""

    async def _settle(self) -> None:  # noqa: B027 - most have nothing to do
        """What has to be done before a new token may be used."""

    def _is_usable(self) -> bool:
        return self._clock() < self._usable_until

    async def _renew(self) -> OAuthCredentials:
        if self._held is None or self._clock() >= self._usable_until:
            asked_at = self._clock()
            answer = await self._obtain()
            life = _life(answer.get("expires_in"))
            self._held = self._read(answer, life)
            self._usable_until = asked_at + _usable(life)
        held = self._held
        await self._settle()
        return held

    def _renewed(self, task: asyncio.Task[OAuthCredentials]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits for it any more

    async def _ask(self, **form: str) -> Mapping[str, Any]:
        """Ask the token endpoint; the answer, whose tokens are masked from now on."""
        try:
            async with (open_client(self._name, transport=self._transport, timeout=self._timeout) as client,
                        client.stream("POST", self._url, data={**self._client, **form},
                                      headers={"Accept": "application/json"}) as response):
                read = await beginning(response)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ConfigurationError(f"{self._name}: the token URL '{self._url}' is no http(s) URL") from error
        except httpx.RequestError as error:
            raise unreachable(self._name, "POST", httpx.URL(self._url), error) from error
        if read.status_code >= 400:
            raise refused(self._name, read)
        try:
            answer = read.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
            raise unreadable(self._name, read, "without an access_token")
        for kind in ("access_token", "refresh_token", "id_token"):
            if isinstance(answer.get(kind), str):
                redaction.remember(answer[kind])
        return answer

    def _read(self, answer: Mapping[str, Any], life: float | None) -> OAuthCredentials:
        kind = str(answer.get("token_type") or "Bearer")
        return OAuthCredentials(
            connection_name=self._name, access_token=answer["access_token"],
            # The scheme is spelled as any server takes it; many answer it in lower case.
            token_type="Bearer" if kind.lower() == "bearer" else kind,
            expires_at=datetime.now(UTC) + timedelta(seconds=life) if life is not None else None,
            scopes=str(answer.get("scope") or self._scope))


class ClientCredentials(TokenEndpoint):
    """Tokens for the client itself. See `TokenEndpoint` for the arguments."""

    async def _obtain(self) -> Mapping[str, Any]:
        return await self._ask(grant_type="client_credentials")


class RefreshToken(TokenEndpoint):
    """Tokens on behalf of whoever authorised the client once, by a refresh token that may be replaced with each use.

    A new one is stored before the access token that came with it is used. Where that fails, both are kept, and storing is
    tried again with the next call. Where another worker was faster, so that the refresh token was refused, the one that it has
    stored is tried once.

    Args:
        find: Answers the refresh token's place.
        endpoint: The arguments of `TokenEndpoint`.
    """

    def __init__(self, find: Callable[[], Awaitable[RotatingSecret]], *endpoint: Any, **options: Any) -> None:
        super().__init__(*endpoint, **options)
        self._find = find
        self._unsettled: RotatingSecret | None = None

    async def _obtain(self) -> Mapping[str, Any]:
        try:
            secret = await self._find()
            async with secret.lock:
                return await self._exchange(secret)
        except KeyError as error:
            raise _missing(f"{self._name}.refresh_token", error) from error

    async def _exchange(self, secret: RotatingSecret) -> Mapping[str, Any]:
        used = await secret.value()
        try:
            answer = await self._refresh(used)
        except IntegrationError as error:
            if not _is_invalid_grant(error):
                raise
            newer = await secret.value()
            if newer == used:
                raise _outlived(self._name, secret, error) from error
            used, answer = newer, await self._refresh(newer)
        following = answer.get("refresh_token")
        if isinstance(following, str) and following not in ("", used):
            secret.rotated(used, following)
            self._unsettled = secret
        return answer

    async def _refresh(self, refresh_token: str) -> Mapping[str, Any]:
        return await self._ask(grant_type="refresh_token", refresh_token=refresh_token)

    def _is_usable(self) -> bool:
        return self._unsettled is None and super()._is_usable()

    async def _settle(self) -> None:
        if self._unsettled is None:
            return
        try:
            await self._unsettled.settle()
        except WorkflowException as error:
            raise _unwritten(self._name, self._unsettled, error) from error
        self._unsettled = None


def _is_invalid_grant(error: IntegrationError) -> bool:
    """https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""
    return error.details.get("code") == "invalid_grant"


def _outlived(name: str, secret: RotatingSecret, error: IntegrationError) -> IntegrationError:
    return IntegrationError(f"{error.message}. The refresh token at {secret.place} is no longer accepted: authorise the "
                            f"connection '{name}' again, and store the new one there", details=error.details)


def _unwritten(name: str, secret: RotatingSecret, error: WorkflowException) -> WorkflowException:
    sentence = (f"{name}: the new refresh token could not be written to {secret.place}: {error.message}. This worker keeps it "
                "and tries again with the next call; until then it uses no new access token")
    if isinstance(error, IntegrationError):
        return IntegrationError(sentence, details=error.details)
    return ConfigurationError(sentence, config_key=f"{name}.refresh_token")


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
    name = reference(key, entry, "client_secret")
    try:
        value = await context.get_secret(name)
    except KeyError as error:
        raise _missing(f"{key}.client_secret", error) from error
    assert not isinstance(value, Secret), "a workflow's context has handles and makes no requests"
    return value


def reference(key: str, entry: Mapping[str, Any], field: str) -> str:
    """The name of the secret that a field of the configuration entry `key` refers to: `{secret_ref: NAME}`.

    Raises:
        ConfigurationError: it is no reference; the message never shows what stands there.
    """
    written, config_key = entry.get(field), f"{key}.{field}"
    if not isinstance(written, Mapping) or not isinstance(written.get("secret_ref"), str):
        raise ConfigurationError(f"The configuration '{config_key}' must refer to a secret: {{secret_ref: NAME}}; "
                                 "the secret itself belongs in Vault", config_key=config_key)
    name: str = written["secret_ref"]
    return name


def _missing(config_key: str, error: KeyError) -> ConfigurationError:
    return ConfigurationError(f"The configuration '{config_key}' refers to a secret that is missing: {error.args[0]}",
                              config_key=config_key)
