"""A codec server: over HTTP, Temporal's Web UI and command line have payloads decrypted and encrypted here.

`POST /decode` and `/encode`, also below `/<namespace>`, take and answer `{"payloads": [...]}`
(https://docs.temporal.io/codec-server). Whoever asks has a bearer token, which opens what is of its organizations; any other
payload is answered as it came, so that the rest of a history can still be read.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue

from bifrost import redaction
from bifrost.errors import ConfigurationError, IntegrationError, PermissionError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.messages import GLOBAL_SCOPE
from bifrost.models import GLOBAL
from bifrost.temporal.payloads.converter import CONVERTER, data_converter
from bifrost.temporal.payloads.encryption import Envelopes, is_encrypted, name_of_key

ALL: Final = "*"
MAX_BYTES: Final = 128 * 1024 * 1024
"""How large a request may be."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a token opens: the payloads of these organizations, or of all."""

    organizations: frozenset[str]

    def covers(self, org_id: str) -> bool:
        """Whether an organization's payloads are among them."""
        return ALL in self.organizations or org_id in self.organizations


def read_tokens(file: Path) -> Mapping[str, Access]:
    """The tokens in a file: on each line one, and after a space the organizations that it is for, with commas between, or `*`.

    Empty lines, and those that begin with `#`, count for nothing.

    Raises:
        ConfigurationError: the file cannot be read, has no token, or a line is not as it must be.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The tokens cannot be read from {file}: {error}") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        match line.split():
            case []:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case [token, organizations] if len(token) >= MIN_TOKEN:
                redaction.remember(token)
                found[token] = Access(frozenset(organizations.split(",")))
            case _:
                raise ConfigurationError(f"{file}:{number}: a line is a token of at least {MIN_TOKEN} characters, a space, and the "
                                         f"organizations that it is for: `acme,globex`, `{GLOBAL}` for what has none, or `{ALL}`")
    if not found:
        raise ConfigurationError(f"{file} has no token: nobody could read anything")
    return found


MIN_TOKEN: Final = 16


def app(envelopes: Envelopes, tokens: Mapping[str, Access], *, origins: Sequence[str] = (), payloads: str | None = None) -> Starlette:
    """The server.

    Args:
        envelopes: Decrypt and encrypt.
        tokens: Who may ask, for what.
        origins: Where the Web UI comes from, such as `http://localhost:8233`.
        payloads: Where large payloads are, as `BIFROST_PAYLOADS` says it; None leaves references to them as they are.
    """
    codec = _Codec(envelopes, payloads)

    def route(path: str, work: Callable[[Sequence[Payload], Access], Awaitable[list[Payload]]]) -> list[Route]:
        async def answer(request: Request) -> Response:
            return await _answer(request, tokens, work)

        return [Route(path, answer, methods=["POST"]), Route("/{namespace}" + path, answer, methods=["POST"])]

    cors = Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["POST"], allow_credentials=True,
                      allow_headers=["Authorization", "Content-Type", "X-Namespace"])
    return Starlette(routes=[*route("/decode", codec.decode), *route("/encode", codec.encode)], middleware=[cors])


class _Codec:
    def __init__(self, envelopes: Envelopes, payloads: str | None) -> None:
        self._envelopes = envelopes
        self._store = None if payloads is None else data_converter(payloads, _Closed())

    async def decode(self, payloads: Sequence[Payload], access: Access) -> list[Payload]:
        return [await self._opened(payload, access) for payload in payloads]

    async def encode(self, payloads: Sequence[Payload], access: Access) -> list[Payload]:
        made = []
        for payload in payloads:
            org_id = _org_id(payload)
            if not access.covers(org_id):
                raise PermissionError(f"The token is not for payloads of {org_id}")
            made.append(payload if is_encrypted(payload) else await self._envelopes.seal(payload, org_id))
        return made

    async def _opened(self, payload: Payload, access: Access) -> Payload:
        """The payload as it was made, or as it came where it may or can not be read."""
        try:
            found = payload
            if self._store is not None:
                [value] = await self._store.decode([payload], [RawValue])
                found = value.payload
            if not is_encrypted(found):  # nothing says whose it is
                return found if ALL in access.organizations else payload
            return await self._envelopes.unseal(found) if access.covers(name_of_key(found)) else payload
        except IntegrationError:
            raise
        except WorkflowException:  # its key is gone, it is damaged, or what it refers to is not there
            return payload


class _Closed(Envelopes):
    """Leaves what is encrypted as it is: whether it may be opened is decided later."""

    def __init__(self) -> None:
        """There are no keys."""

    async def unseal(self, payload: Payload) -> Payload:
        return payload


def _org_id(payload: Payload) -> str:
    """Whose it is: a start argument says so, anything else does not."""
    try:
        value = CONVERTER.from_payload(payload)
    except Exception:  # noqa: BLE001 - whatever it is, it is no start argument
        return GLOBAL_SCOPE
    org_id = value.get("org_id") if isinstance(value, dict) else None
    return org_id if isinstance(org_id, str) and org_id else GLOBAL_SCOPE


async def _answer(request: Request, tokens: Mapping[str, Access],
                  work: Callable[[Sequence[Payload], Access], Awaitable[list[Payload]]]) -> Response:
    access = _access(request.headers.get("authorization", ""), tokens)
    if access is None:
        return JSONResponse({"error": "A bearer token is needed"}, 401, {"WWW-Authenticate": "Bearer"})
    if not request.headers.get("content-length", "").isdecimal() or int(request.headers["content-length"]) > MAX_BYTES:
        return JSONResponse({"error": f"A request has a Content-Length of at most {MAX_BYTES:,} bytes"}, 413)
    try:
        asked = json_format.Parse(await request.body(), Payloads())
    except (json_format.ParseError, ValueError):
        return JSONResponse({"error": 'The body must be {"payloads": [...]}'}, 400)
    try:
        made = await work(asked.payloads, access)
    except PermissionError as error:
        return JSONResponse({"error": error.message}, 403)
    except WorkflowException as error:
        return JSONResponse({"error": error.message}, 503)
    return Response(json_format.MessageToJson(Payloads(payloads=made), indent=None), media_type="application/json")


def _access(header: str, tokens: Mapping[str, Access]) -> Access | None:
    """What the token in a header opens. Every token is compared, so that the time tells nothing."""
    scheme, _, given = header.partition(" ")
    matching = [access for token, access in tokens.items() if hmac.compare_digest(token.encode(), given.strip().encode())]
    return matching[0] if matching and scheme.lower() == "bearer" else None
