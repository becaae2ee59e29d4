"""The HTTP client that integrations get as `self.http`.

What every integration needs and few write: errors in one shape, calls on record without secrets, timeouts, and an
`Idempotency-Key` that is the same in every attempt of a call.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from bifrost import redaction
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.integrations.call import current_call

TokenSource = Callable[[], Awaitable[str]]
"""An async function that answers the bearer token to use now."""

MAX_EXCERPT = 500
"""How much of an answer's body an error keeps, in characters."""
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


class IntegrationHTTP:
    """An `httpx.AsyncClient`, opened with the first request, that raises on every answer of 400 and above.

    Attributes:
        base_url: Where relative URLs start.
        headers: Sent with every request, except to an origin other than that of `base_url`.
        token: A bearer token, or an async function that answers one; sent where `headers` are.
        timeout: How long connecting, and each wait for the other side, may take, in seconds; 30 by default.
        transport: An httpx transport in place of the network's, set before the first request.
    """

    def __init__(self, integration_name: str, context: Any) -> None:
        self.base_url = ""
        self.headers: dict[str, str] = {}
        self.token: str | TokenSource | None = None
        self.timeout: float = 30
        self.transport: httpx.AsyncBaseTransport | None = None
        self._integration = integration_name
        self._context = context
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str, **options: Any) -> httpx.Response:
        """Make a GET request; see `request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> httpx.Response:
        """Make a POST request; see `request`."""
        return await self.request("POST", url, **options)

    async def patch(self, url: str, **options: Any) -> httpx.Response:
        """Make a PATCH request; see `request`."""
        return await self.request("PATCH", url, **options)

    async def put(self, url: str, **options: Any) -> httpx.Response:
        """Make a PUT request; see `request`."""
        return await self.request("PUT", url, **options)

    async def delete(self, url: str, **options: Any) -> httpx.Response:
        """Make a DELETE request; see `request`."""
        return await self.request("DELETE", url, **options)

    async def request(self, method: str, url: str, *, json: Any = None, params: Mapping[str, Any] | None = None,
                      headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        """Make a request.

        Args:
            method: GET, POST, …
            url: Below `base_url`, or a whole URL.
            json: The body, as JSON.
            params: The query.
            headers: Further headers, which go before `self.headers`.
            options: Whatever else `httpx.AsyncClient.request` takes (`content`, `data`, `files`, `timeout`, …).

        Raises:
            IntegrationError: an answer of 400 and above (`status_code`; `details` has `endpoint`, `response`, an excerpt
                of the body, and what else it says: `code`, `retry_after_seconds`), or no answer (no `status_code`).
            ConfigurationError: the URL or a header cannot be sent at all.
        """
        method = method.upper()
        target = self._target(url)
        sent = await self._headers(method, target, headers or {})
        started = time.monotonic()
        try:
            response = await self._open().request(method, target, json=json, params=params, headers=sent,
                                                  **{"timeout": self.timeout, **options})
        except httpx.LocalProtocolError:
            # Its text quotes the offending header, which may well hold the secret: so no cause, and none of the text.
            raise ConfigurationError(f"{self._integration}: a header of the request cannot be sent; is there a line "
                                     "break in a secret?", integration=self._integration) from None
        except httpx.RequestError as error:
            failure = unreachable(self._integration, method, target, error)
            self._track(method, target, 0, started, failure.message)
            raise failure from error
        refusal = refused(self._integration, response) if response.status_code >= 400 else None
        self._track(method, target, response.status_code, started, refusal.message if refusal else None)
        if refusal:
            raise refusal
        return response

    async def aclose(self) -> None:
        """Close the connections. A later request opens new ones."""
        client, self._client = self._client, None
        if client:
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(transport=self.transport)
        return self._client

    def _target(self, url: str) -> httpx.URL:
        try:
            target = httpx.URL(url)
            if not target.is_absolute_url:
                target = httpx.URL(f"{self.base_url.rstrip('/')}/{url.lstrip('/')}" if url else self.base_url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{self._integration}: the URL cannot be one: {error}",
                                     integration=self._integration) from error
        if target.scheme not in ("http", "https") or not target.host:
            raise ConfigurationError(f"{self._integration}: '{endpoint(target)}' is no http(s) URL, and neither is the "
                                     "base_url it would be below", integration=self._integration)
        return target

    async def _headers(self, method: str, target: httpx.URL, headers: Mapping[str, str]) -> httpx.Headers:
        sent = httpx.Headers()
        # A link in an answer must not carry the organization's credentials to whatever host it names.
        if not self.base_url or _origin(target) == _origin(httpx.URL(self.base_url)):
            sent.update(self.headers)
            token = await self.token() if callable(self.token) else self.token
            if token:
                redaction.remember(token)
                sent["Authorization"] = f"Bearer {token}"
        sent.update(headers)
        if method in _CHANGING and "Idempotency-Key" not in sent and (key := current_call.get().next_key()):
            sent["Idempotency-Key"] = key
        return sent

    def _track(self, method: str, target: httpx.URL, status_code: int, started: float, error: str | None) -> None:
        self._context._track_integration_call(  # noqa: SLF001 - the name is the guide's
            integration=self._integration, method=method, endpoint=endpoint(target), status_code=status_code,
            duration_ms=int((time.monotonic() - started) * 1000), error=error)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def endpoint(url: httpx.URL) -> str:
    """The path of a URL as it may be written down: without its query, remembered secrets masked."""
    return redaction.mask(url.path)


def unreachable(integration: str, method: str, url: httpx.URL, error: httpx.RequestError) -> IntegrationError:
    """The error for a request without an answer: names method, host and path, and never a query or a header."""
    host = url.host if url.port is None else f"{url.host}:{url.port}"
    # Of httpx's texts only those of the operating system are sure to quote nothing that was sent.
    reason = redaction.mask(str(error)) if isinstance(error, httpx.ConnectError) else ""
    return IntegrationError(
        f"{integration} could not be reached: {method} {host}{endpoint(url)}: {type(error).__name__}"
        + (f" ({reason})" if reason else ""), integration=integration, details={"endpoint": endpoint(url)})


def refused(integration: str, response: httpx.Response) -> IntegrationError:
    """The error for an answer of 400 and above."""
    path = endpoint(response.request.url)
    # Masked before it is cut, so that no half of a secret remains at the edge.
    excerpt = redaction.mask(response.text)[:MAX_EXCERPT]
    said = _said(response)
    status = f"{response.status_code} {response.reason_phrase}".strip()
    reason = redaction.mask(said.get("message", ""))[:MAX_EXCERPT] or excerpt
    details: dict[str, Any] = {"endpoint": path, "response": excerpt}
    if "code" in said:
        details["code"] = redaction.mask(said["code"])
    if (seconds := retry_after_seconds(response)) is not None:
        details["retry_after_seconds"] = seconds
    return IntegrationError(
        f"{integration}: {response.request.method} {path} answered {status}" + (f": {reason}" if reason else ""),
        integration=integration, status_code=response.status_code, details=details)


def _said(response: httpx.Response) -> dict[str, str]:
    """The message and code of the usual JSON errors, as far as there are any.

    `{"error": {"code", "message"}}` (OData, https://learn.microsoft.com/en-us/graph/errors), `{"error",
    "error_description"}` (OAuth, RFC 6749 section 5.2), `{"message"}`, `{"detail"}` (RFC 9457 and many more).
    """
    try:
        body = response.json()
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    message = next((inner[key] for key in ("message", "error_description", "detail") if inner.get(key)), error)
    code = inner.get("code") or error
    said = {"message": message, "code": code}
    return {key: text for key, text in said.items() if isinstance(text, str)}


def retry_after_seconds(response: httpx.Response) -> float | None:
    """How long the other side asks to wait, in seconds; None if it does not say, or nothing that can be read.

    `Retry-After` is a number of seconds or an HTTP date (https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3);
    decimals are seen in the wild.
    """
    text = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if seconds < float("inf") else None  # "nan" is not smaller either
