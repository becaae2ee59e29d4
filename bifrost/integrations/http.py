"""The HTTP client that integrations get as `self.http`.

What every integration needs and few write: errors in one shape, calls on record without secrets, timeouts, and an
`Idempotency-Key` that is the same in every attempt of a call. Proxies and certificate authorities are httpx's own settings:
`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`
(https://www.python-httpx.org/environment_variables/).
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import httpx

from bifrost import redaction, tracing
from bifrost.errors import ConfigurationError
from bifrost.integrations.answers import beginning, endpoint, refused, unreachable, unreadable
from bifrost.integrations.bodies import FileBody, save
from bifrost.integrations.call import current_call
from bifrost.integrations.paging import Pages

TokenSource = Callable[[], Awaitable[str]]
"""An async function that answers the bearer token to use now."""

_Origin = tuple[str, str, int | None]
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_AT_HOME = "bifrost.at_home"
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
"""As many connections as there are calls: how many these may be is the integration's to say, and not a wait in here."""
_WHOLE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_HARMLESS = ("accept", "content-length", "content-type", "range", "user-agent")


class IntegrationHTTP:
    """An `httpx.AsyncClient`, opened with the first request, that raises on every answer of 400 and above.

    Each organization's integration has one, with connections and cookies of its own.

    Attributes:
        base_url: Where relative URLs start.
        headers: Sent with every request, except to an origin other than that of `base_url`.
        token: A bearer token, or an async function that answers one, such as `oauth` makes; sent where `headers` are.
        timeout: How long connecting, and each wait for the other side, may take, in seconds; 30 by default.
        keep_cookies: Whether cookies of answers are sent with later requests, as a login that makes a session needs it; they
            are not by default. Set before the first request.
        transport: An httpx transport in place of the network's, set before the first request.
    """

    def __init__(self, integration_name: str, context: Any) -> None:
        self.base_url = ""
        self.headers: dict[str, str] = {}
        self.token: str | TokenSource | None = None
        self.timeout: float = 30
        self.keep_cookies = False
        self.transport: httpx.AsyncBaseTransport | None = None
        self._integration = integration_name
        self._context = context
        self._client: httpx.AsyncClient | None = None

    def oauth(self, connection: str) -> TokenSource:
        """What `token` takes for the context's OAuth connection of this name: `self.http.token = self.http.oauth("erp")`.

        It makes no request: a token is fetched with the first request, again as it runs out, and after one was refused.
        """
        async def token() -> str:
            return str((await self._context.get_oauth_connection(connection)).access_token)

        return token

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

    async def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Make a request, and read the answer whole.

        Args:
            method: GET, POST, …
            url: Below `base_url`, or a whole URL.
            options: What `stream` takes.

        Raises:
            IntegrationError, ConfigurationError: see `stream`.
        """
        async with self.stream(method, url, **options) as response:
            await response.aread()
        return response

    def stream(self, method: str, url: str, **options: Any) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        """Make a request whose answer is read while it comes: `async with self.http.stream("GET", url) as response`.

        Args:
            method: GET, POST, …
            url: Below `base_url`, or a whole URL.
            options: `json` (the body, as JSON), `params` (the query, in place of the URL's), `headers` (which go before
                `self.headers`), `content` (a body: bytes, text, the `Path` of a file, or an async iterator of bytes, sent
                piece by piece), and whatever else `httpx.AsyncClient.stream` takes (`data`, `files`, `timeout`, …). Redirects
                are followed with `follow_redirects=True`, to another origin without what `headers` and `token` hold.

        Raises:
            IntegrationError: an answer of 400 and above (`status_code`; `details` has `endpoint`, `response`, an excerpt
                of the body, and what else it says: `code`, `retry_after_seconds`), or no whole answer (no `status_code`).
            ConfigurationError: the URL or a header cannot be sent at all, or the environment names a proxy or an authority
                that cannot be used.
        """
        target = self._target(url)
        return self._exchange(method.upper(), target, self._home(target), **options)

    async def download(self, url: str, path: str | os.PathLike[str], **options: Any) -> int:
        """Get what may be too large for memory, and write it to the file `path`; answers the file's size in bytes.

        The file appears whole or not at all, in place of one that was there. Redirects are followed: many systems hand
        files out elsewhere.

        Args:
            url: Below `base_url`, or a whole URL.
            path: The file, in a folder that exists.
            options: What `stream` takes.

        Raises:
            IntegrationError: see `stream`; and an answer of 300 and above, which has no file.
            ConfigurationError: see `stream`.
            OSError: the file cannot be written.
        """
        async with self.stream("GET", url, **{"follow_redirects": True, **options}) as response:
            if response.status_code >= 300:
                raise unreadable(self._integration, response, "and no file")
            return await save(response.aiter_bytes(), Path(path))

    async def paged(self, url: str, *, items: str | None = None, next: str | None = None,  # noqa: A002 - the fields' usual name
                    cursor: str | None = None, page: str | None = None, first_page: int = 1,
                    params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None,
                    **options: Any) -> AsyncIterator[Any]:
        """The items of a collection, whose pages are fetched as the loop needs them.

            async for user in self.http.paged("users", items="value", next="@odata.nextLink"): ...   # a link in the answer
            async for repository in self.http.paged("repositories"): ...                             # RFC 8288: Link, rel="next"
            async for charge in self.http.paged("charges", items="data", next="meta.cursor", cursor="after"): ...
            async for company in self.http.paged("companies", page="page", params={"pageSize": 1000}): ...

        A link to another origin than the first page's is followed without `headers` and `token`.

        Args:
            url: The first page, below `base_url`, or a whole URL.
            items: The field that has a page's items, dotted where it lies deeper; an answer without it has none. By default
                the answer is the list.
            next: The field that has the next page's link or, with `cursor`, its cursor; absent, null or empty on the last
                page. By default the link is in the answer's `Link` header.
            cursor: The parameter that takes the cursor.
            page: The parameter that takes the page's number, counted from `first_page`; the first page without items is the
                last.
            first_page: The number of the first page.
            params: Further parameters of the query.
            headers: Further headers, which go before `self.headers`.
            options: What else `stream` takes.

        Raises:
            IntegrationError: see `stream`; and an answer that is no such page, or leads to one that was read already.
            ConfigurationError: see `stream`.
            ValidationError: `next`, `cursor` and `page` do not go together.
        """
        first = self._target(url).copy_merge_params(params or {})
        pages = Pages(self._integration, first, items=items, next=next, cursor=cursor, page=page, first_page=first_page)
        while pages.url:
            own = headers if _origin(pages.url) == _origin(first) else None
            async with self._exchange("GET", pages.url, self._home(first), headers=own, **options) as response:
                await response.aread()
            for item in pages.read(response):
                yield item

    async def aclose(self) -> None:
        """Close the connections. A later request opens new ones."""
        client, self._client = self._client, None
        if client:
            await client.aclose()

    @contextlib.asynccontextmanager
    async def _exchange(self, method: str, target: httpx.URL, home: _Origin, *, headers: Mapping[str, str] | None = None,
                        content: Any = None, **options: Any) -> AsyncIterator[httpx.Response]:
        """One request and the answer to it, if that is below 400. `home` is the origin that may have credentials."""
        sent = await self._headers(method, target, home, headers or {})
        if isinstance(content, os.PathLike):
            content = FileBody(Path(content))
            sent["Content-Length"] = str(content.size)
        extensions = {**(options.pop("extensions", None) or {}), _AT_HOME: (_origin(target), list(sent))}
        started = time.monotonic()
        outcome: tuple[int, str | None] | None = None
        try:
            async with tracing.request(method, target.host, target.port, sent), self._open().stream(
                    method, target, headers=sent, content=content, extensions=extensions, **{"timeout": self.timeout, **options}) as response:
                outcome = response.status_code, None
                if response.status_code >= 400:
                    refusal = refused(self._integration, await beginning(response))
                    outcome = response.status_code, refusal.message
                    self._tell_of_refused_token(response)
                    raise refusal
                yield response
        except httpx.LocalProtocolError:
            # Its text quotes the offending header, which may well hold the secret: so no cause, and none of the text.
            raise ConfigurationError(f"{self._integration}: a header of the request cannot be sent; is there a line "
                                     "break in a secret?", integration=self._integration) from None
        except httpx.RequestError as error:
            failure = unreachable(self._integration, method, target, error)
            outcome = 0, failure.message
            raise failure from error
        finally:
            if outcome:
                self._track(method, target, *outcome, started)

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = open_client(self._integration, transport=self.transport, cookies=CookieJar() if self.keep_cookies else _NoCookies(),
                                       event_hooks={"request": [_leave_credentials_at_home]})
        return self._client

    def _target(self, url: str) -> httpx.URL:
        try:
            if not _WHOLE.match(url):
                url = f"{self.base_url.rstrip('/')}/{url.lstrip('/')}" if url else self.base_url
            target = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{self._integration}: the URL cannot be one: {error}",
                                     integration=self._integration) from error
        if target.scheme not in ("http", "https") or not target.host:
            raise ConfigurationError(f"{self._integration}: '{endpoint(target)}' is no http(s) URL, and neither is the "
                                     "base_url it would be below", integration=self._integration)
        return target

    def _home(self, target: httpx.URL) -> _Origin:
        return _origin_of(self.base_url) if self.base_url else _origin(target)

    async def _headers(self, method: str, target: httpx.URL, home: _Origin, headers: Mapping[str, str]) -> httpx.Headers:
        sent = httpx.Headers()
        # A link in an answer must not carry the organization's credentials to whatever host it names.
        if _origin(target) == home:
            sent.update(self.headers)
            token = await self.token() if callable(self.token) else self.token
            if token:
                redaction.remember(token)
                sent["Authorization"] = f"Bearer {token}"
        sent.update(headers)
        if method in _CHANGING and "Idempotency-Key" not in sent and (key := current_call.get().next_key()):
            sent["Idempotency-Key"] = key
        return sent

    def _tell_of_refused_token(self, response: httpx.Response) -> None:
        """Have the context forget a token that ended before its time: the login after a 401 must not use it again."""
        token = response.request.headers.get("Authorization", "").partition(" ")[2]
        tell = getattr(self._context, "_token_refused", None)
        if response.status_code == 401 and token and tell:
            tell(token)

    def _track(self, method: str, target: httpx.URL, status_code: int, error: str | None, started: float) -> None:
        self._context._track_integration_call(  # noqa: SLF001 - the name is the guide's
            integration=self._integration, method=method, endpoint=endpoint(target), status_code=status_code,
            duration_ms=int((time.monotonic() - started) * 1000), error=error)


class _NoCookies(CookieJar):
    """Keeps none, as httpx would: a call must not depend on what an earlier one was sent."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Nothing."""


def open_client(integration: str, **options: Any) -> httpx.AsyncClient:
    """An httpx client as the environment wants it: with its proxies and certificate authorities.

    Raises:
        ConfigurationError: they cannot be used; names the variables.
    """
    try:
        if options.get("transport") is None:
            options["verify"] = _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return httpx.AsyncClient(limits=_LIMITS, **options)
    except OSError as error:
        raise ConfigurationError(f"{integration}: the certificate authorities cannot be read: {error}. SSL_CERT_FILE must name "
                                 "a file in PEM format that exists", config_key="SSL_CERT_FILE") from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        # Of no cause: a proxy's URL may hold a password.
        raise ConfigurationError(f"{integration}: a proxy of the environment cannot be used ({type(error).__name__}): "
                                 "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY take URLs such as http://proxy.example:3128",
                                 config_key="HTTPS_PROXY") from None


@functools.lru_cache(maxsize=8)
def _trusted(file: str | None, directory: str | None) -> ssl.SSLContext:  # noqa: ARG001 - what httpx reads there, as the key
    """What is trusted, once for all clients: it takes 20 ms to read, for which a worker would stand still each time."""
    return httpx.create_ssl_context()


async def _leave_credentials_at_home(request: httpx.Request) -> None:
    """Before each request, those of redirects included: httpx takes `Authorization` alone from one to another origin."""
    home, sent = request.extensions.get(_AT_HOME, (None, ()))
    if home and _origin(request.url) != home:
        for name in sent:
            if name.lower() not in _HARMLESS:
                request.headers.pop(name, None)


def _origin(url: httpx.URL) -> _Origin:
    return url.scheme, url.host, url.port


@functools.lru_cache(maxsize=256)
def _origin_of(base_url: str) -> _Origin:
    return _origin(httpx.URL(base_url))
