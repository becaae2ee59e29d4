"""What answers of other systems say: errors in one shape, without a secret and without whatever else they are full of."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from bifrost import redaction
from bifrost.errors import IntegrationError

MAX_EXCERPT = 500
"""How much of an answer's body an error keeps, in characters."""
MAX_ERROR_BODY = 65_536
"""How much of it is read, in bytes: enough for any error in JSON."""
MAX_RETRY_AFTER = 86_400.0
"""The longest wait that another system is granted, in seconds."""

_OF_THE_TRANSFER = {"content-encoding", "content-length", "transfer-encoding"}


def endpoint(url: httpx.URL) -> str:
    """The path of a URL as it may be written down: without its query, remembered secrets masked."""
    return redaction.mask(url.path)


def unreachable(integration: str, method: str, url: httpx.URL, error: httpx.RequestError) -> IntegrationError:
    """The error for a request without an answer: names method, host and path, and never a query or a header."""
    host = url.host if url.port is None else f"{url.host}:{url.port}"
    # Of httpx's texts only those of the operating system and of a proxy are sure to quote nothing that was sent.
    reason = redaction.mask(str(error)) if isinstance(error, httpx.ConnectError | httpx.ProxyError) else ""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        reason += "; if the certificate is of an authority of your own, name the authority's file in SSL_CERT_FILE"
    return IntegrationError(
        f"{integration} could not be reached: {method} {host}{endpoint(url)}: {type(error).__name__}"
        + (f" ({reason})" if reason else ""), integration=integration, details={"endpoint": endpoint(url)})


def unreadable(integration: str, response: httpx.Response, problem: str) -> IntegrationError:
    """The error for an answer that came and is not what was asked for; such a one is not asked for again."""
    path = endpoint(response.request.url)
    return IntegrationError(f"{integration}: {response.request.method} {path} answered {response.status_code} {problem}",
                            integration=integration, status_code=response.status_code, details={"endpoint": path})


async def beginning(response: httpx.Response) -> httpx.Response:
    """The answer with what comes first of its body, at most `MAX_ERROR_BODY` bytes; the rest is never read.

    A refusal whose body breaks off is still a refusal.

    Raises:
        httpx.RequestError: the body of a good answer breaks off.
    """
    kept = b""
    try:
        async with contextlib.aclosing(response.aiter_bytes()) as chunks:  # type: ignore[type-var]  # it is a generator
            async for chunk in chunks:
                kept += chunk[:MAX_ERROR_BODY - len(kept)]
                if len(kept) == MAX_ERROR_BODY:
                    break
    except httpx.RequestError:
        if response.status_code < 400:
            raise
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _OF_THE_TRANSFER]
    return httpx.Response(response.status_code, headers=headers, content=kept, request=response.request,
                          extensions=response.extensions)


def refused(integration: str, response: httpx.Response) -> IntegrationError:
    """The error for an answer of 400 and above, whose body has been read; see `beginning`."""
    path = endpoint(response.request.url)
    # Masked before it is cut, so that no half of a secret remains at the edge.
    excerpt = redaction.mask(response.text)[:MAX_EXCERPT]
    said = _said(response)
    status = f"{response.status_code} {response.reason_phrase}".strip()
    reason = redaction.mask(said.get("message", ""))[:MAX_EXCERPT] or excerpt
    details: dict[str, Any] = {"endpoint": path, "response": excerpt}
    if "code" in said:
        details["code"] = redaction.mask(said["code"])[:MAX_EXCERPT]
    if (seconds := retry_after_seconds(response)) is not None:
        details["retry_after_seconds"] = seconds
    return IntegrationError(
        f"{integration}: {response.request.method} {path} answered {status}" + (f": {reason}" if reason else ""),
        integration=integration, status_code=response.status_code, details=details)


def _said(response: httpx.Response) -> dict[str, str]:
    """The message and code of the usual JSON errors, as far as there are any.

    `{"error": {"code", "message"}}` (OData, https://learn.microsoft.com/en-us/graph/errors), `{"error",
    "error_description"}` (OAuth, RFC 6749 section 5.2), `{"message"}`, `{"detail"}` (RFC 9457 and many more), `{"Message"}`
    (exceptions of .NET).
    """
    try:
        body = response.json()
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    message = next((inner[key] for key in ("message", "error_description", "detail", "Message") if inner.get(key)), error)
    code = inner.get("code") or error
    said = {"message": message, "code": code}
    return {key: text for key, text in said.items() if isinstance(text, str)}


def retry_after_seconds(response: httpx.Response) -> float | None:
    """How long the other side asks to wait, in seconds; None if it does not say, or nothing that can be read.

    `Retry-After` is a number of seconds or an HTTP date (https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3);
    decimals are seen in the wild. More than `MAX_RETRY_AFTER` is that, and less than nothing is 0.
    """
    text = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    # What no float can hold is read as infinite; "nan" is not smaller either.
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds < float("inf") else None
