"""Microsoft Graph v1.0 and the token endpoint of the Microsoft identity platform, over one port.

What is simulated, after Microsoft's public documentation:

- `POST /{tenant}/oauth2/v2.0/token`: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow,
  errors: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
- `/v1.0/users`: https://learn.microsoft.com/graph/api/user-post-users, user-list, user-get, user-update, user-delete,
  user-assignlicense, user-list-licensedetails, user-revokesigninsessions
- `/v1.0/groups`: https://learn.microsoft.com/graph/api/group-post-groups, group-list, group-get, group-list-members,
  group-post-members, group-delete-members
- `GET /v1.0/auditLogs/signIns`: https://learn.microsoft.com/graph/api/signin-list
- `GET /v1.0/security/alerts_v2`: https://learn.microsoft.com/graph/api/security-list-alerts_v2
- `GET /v1.0/subscribedSkus`: https://learn.microsoft.com/graph/api/subscribedsku-list
- `GET /v1.0/organization`: https://learn.microsoft.com/graph/api/organization-list
- errors: https://learn.microsoft.com/graph/errors, throttling: https://learn.microsoft.com/graph/throttling

Every tenant has a directory of its own; the token tells the tenant. Known differences: the real Graph ignores the
`Idempotency-Key` header (`idempotent=False` does the same); it makes new objects visible only after a moment, here they
are at once; permissions, domains, deleted items, the licences that reports need, and $orderby, $search, $expand, $skip and
$count are not simulated; where Microsoft does not document the sentence of an error, its code and status are right and the
sentence may differ.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bifrost.dev.simulators import odata
from bifrost.dev.simulators.base import Refusal, Simulator
from bifrost.dev.simulators.graph_directory import GROUP, LICENSE, SUBSCRIBED, USER, Directory, Json, bad_request
from bifrost.dev.simulators.graph_reports import ALERT, SIGN_IN

TOKEN_SECONDS = 3599
"""How long a token is valid, unless said otherwise."""
_TOKEN_PATH = re.compile(r"/([^/]+)/oauth2/v2\.0/token")
_MEMBER_URL = re.compile(r".*/(?:directoryObjects|users)/([^/]+)")
_ODATA_JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_BY_STATUS: Mapping[int, tuple[str, str]] = {
    401: ("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
    403: ("Authorization_RequestDenied", "Insufficient privileges to complete the operation."),
    404: ("Request_ResourceNotFound", "The resource does not exist."),
    405: ("Request_BadRequest", "Specified HTTP method is not allowed for the request target."),
    409: ("Conflict", "The request conflicts with the state of the resource."),
    423: ("ResourceLocked", "The resource is locked."),
    429: ("TooManyRequests", "Please retry again later."),
    500: ("InternalServerError", "There was an internal server error while processing the request."),
    502: ("BadGateway", "A server upstream answered wrongly."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable. Please retry later."),
    504: ("GatewayTimeout", "A server upstream did not answer in time."),
}
"""Code and sentence of a refusal that has none of its own: those that a fault asks for."""


class GraphSimulator(Simulator):
    """Microsoft Graph.

    Args:
        client_secret: The secret that every tenant's application has, or one by tenant; other tenants do not exist then.
            None accepts any secret.
        subscribed: Units bought and units in use at the start, by part number (see `graph_directory.SKU_IDS`), of every
            tenant.
        token_seconds: How long tokens are valid.
        clock: Tells the time in seconds; only differences matter.
        idempotent: See `Simulator`; the real Graph knows no Idempotency-Key.
    """

    name: ClassVar[str] = "msgraph"

    def __init__(self, client_secret: str | Mapping[str, str] | None = None, *,
                 subscribed: Mapping[str, tuple[int, int]] = SUBSCRIBED, token_seconds: int = TOKEN_SECONDS,
                 clock: Callable[[], float] = time.monotonic, idempotent: bool = True) -> None:
        super().__init__(idempotent=idempotent)
        self._client_secret = client_secret
        self._subscribed = subscribed
        self._token_seconds = token_seconds
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}
        self._directories: dict[str, Directory] = {}

    def routes(self) -> Sequence[Route]:
        return [
            Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
            Route("/v1.0/users", self._list_users, methods=["GET"]),
            Route("/v1.0/users", self._create_user, methods=["POST"]),
            *self._user_routes("/v1.0/users/{user}"),
            *self._user_routes("/v1.0/users('{user}')"),  # for names that begin with $
            Route("/v1.0/groups", self._create_group, methods=["POST"]),
            Route("/v1.0/groups", self._list_groups, methods=["GET"]),
            Route("/v1.0/groups/{group}", self._get_group, methods=["GET"]),
            Route("/v1.0/groups/{group}/members", self._list_members, methods=["GET"]),
            Route("/v1.0/groups/{group}/members/$ref", self._add_member, methods=["POST"]),
            Route("/v1.0/groups/{group}/members/{member}/$ref", self._remove_member, methods=["DELETE"]),
            Route("/v1.0/auditLogs/signIns", self._list_sign_ins, methods=["GET"]),
            Route("/v1.0/security/alerts_v2", self._list_alerts, methods=["GET"]),
            Route("/v1.0/subscribedSkus", self._list_skus, methods=["GET"]),
            Route("/v1.0/organization", self._organization, methods=["GET"]),
        ]

    def _user_routes(self, user: str) -> list[Route]:
        return [
            Route(user, self._get_user, methods=["GET"]),
            Route(user, self._update_user, methods=["PATCH"]),
            Route(user, self._delete_user, methods=["DELETE"]),
            Route(f"{user}/assignLicense", self._assign_license, methods=["POST"]),
            Route(f"{user}/licenseDetails", self._list_licenses, methods=["GET"]),
            Route(f"{user}/revokeSignInSessions", self._revoke_sessions, methods=["POST"]),
        ]

    def tenant_of(self, request: Request) -> str | None:
        at_login = _TOKEN_PATH.fullmatch(request.url.path)
        if at_login:
            return at_login[1]
        tenant, _ = self._tokens.get(_bearer(request), (None, 0))
        return tenant

    def remembers(self, request: Request) -> bool:
        # Not a token, which would be repeated for ever after it expired; and not to a client whose token has.
        return self._tokens.get(_bearer(request), ("", 0))[1] > self._clock()

    def error(self, request: Request, refusal: Refusal) -> Response:
        shape = _login_error if _TOKEN_PATH.fullmatch(request.url.path) else _graph_error
        return shape(request, refusal)

    def not_routed(self, request: Request, status: int) -> Refusal:
        if status == 404:
            segment = request.url.path.rstrip("/").rpartition("/")[2]
            return Refusal(400, "BadRequest", f"Resource not found for the segment '{segment}'.")
        return Refusal(status)

    def directory(self, tenant: str) -> Directory:
        """The directory of a tenant, for tests in the same process."""
        return self._directories.setdefault(tenant, Directory(tenant, self._subscribed))

    def _authorized(self, request: Request) -> Directory:
        token = _bearer(request)
        if not token:
            raise Refusal(401, message="Access token is empty.", headers={"WWW-Authenticate": "Bearer"})
        if token not in self._tokens:
            raise Refusal(401, message="Access token validation failure.", headers={"WWW-Authenticate": "Bearer"})
        tenant, expires = self._tokens[token]
        if expires <= self._clock():
            raise Refusal(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return self.directory(tenant)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        tenant = request.path_params["tenant"]
        self._check_client(tenant, form)
        token = f"simulated.{secrets.token_urlsafe(48)}"
        self._tokens[token] = tenant, self._clock() + self._token_seconds
        return JSONResponse({"token_type": "Bearer", "expires_in": self._token_seconds,
                             "ext_expires_in": self._token_seconds, "access_token": token},
                            headers={"Cache-Control": "no-store"})

    def _check_client(self, tenant: str, form: Mapping[str, str]) -> None:
        for name in ("grant_type", "client_id"):
            if not form.get(name):
                raise Refusal(400, "invalid_request", "AADSTS900144: The request body must contain the following "
                                                      f"parameter: '{name}'.")
        if form["grant_type"] != "client_credentials":
            raise Refusal(400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type "
                                                         f"'{form['grant_type']}'.")
        if not form.get("scope", "").endswith("/.default"):
            raise Refusal(400, "invalid_scope", "AADSTS1002012: The provided value for scope "
                                                f"{form.get('scope', '')} is not valid. Client credential flows must "
                                                "have a scope value with /.default suffixed to the resource identifier "
                                                "(application ID URI).")
        expected = self._client_secret
        if isinstance(expected, Mapping):
            if tenant not in expected:
                raise Refusal(400, "invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
            expected = expected[tenant]
        if not form.get("client_secret"):
            raise Refusal(401, "invalid_client", "AADSTS7000216: 'client_assertion', 'client_secret' or 'request' is "
                                                 "required for the 'client_credentials' grant type.")
        if expected is not None and form["client_secret"] != expected:
            raise Refusal(401, "invalid_client", "AADSTS7000215: Invalid client secret provided. Ensure the secret "
                                                 "being sent in the request is the client secret value, not the client "
                                                 f"secret ID, for a secret added to app '{form['client_id']}'.")

    async def _list_users(self, request: Request) -> Response:
        users = list(self._authorized(request).users.values())
        return _json(odata.page(request, users, USER, _context(request, "users")))

    async def _create_user(self, request: Request) -> Response:
        directory = self._authorized(request)
        user = directory.create_user(await _object(request))
        location = f"{request.base_url}v1.0/users/{user['id']}"
        return _json(_entity(request, "users", odata.select(user, USER, None)), 201, {"Location": location})

    async def _get_user(self, request: Request) -> Response:
        user = self._authorized(request).user(request.path_params["user"])
        wanted = request.query_params.get("$select")
        return _json(_entity(request, "users", odata.select(user, USER, wanted), wanted))

    async def _update_user(self, request: Request) -> Response:
        directory = self._authorized(request)
        directory.update_user(request.path_params["user"], await _object(request))
        return Response(status_code=204)

    async def _delete_user(self, request: Request) -> Response:
        self._authorized(request).delete_user(request.path_params["user"])
        return Response(status_code=204)

    async def _revoke_sessions(self, request: Request) -> Response:
        self._authorized(request).revoke_sessions(request.path_params["user"])
        return _json({"@odata.context": _context(request, "Edm.Boolean"), "value": True})

    async def _list_licenses(self, request: Request) -> Response:
        directory = self._authorized(request)
        user = directory.user(request.path_params["user"])
        context = _context(request, f"users('{user['id']}')/licenseDetails")
        return _json(odata.page(request, directory.license_details(user["id"]), LICENSE, context))

    async def _assign_license(self, request: Request) -> Response:
        directory = self._authorized(request)
        given = await _object(request)
        missing = [name for name in ("addLicenses", "removeLicenses") if not isinstance(given.get(name), list)]
        if missing:
            raise bad_request("One or more parameters of the operation 'assignLicense' are missing from the request "
                              f"payload. The missing parameters are: {', '.join(missing)}.")
        add = [{"disabledPlans": list(item.get("disabledPlans") or []), "skuId": _guid(item.get("skuId"))}
               if isinstance(item, dict) else {"skuId": _guid(None)} for item in given["addLicenses"]]
        user = directory.assign_license(request.path_params["user"], add, [_guid(one) for one in given["removeLicenses"]])
        return _json(_entity(request, "users", odata.select(user, USER, None)))

    async def _list_groups(self, request: Request) -> Response:
        groups = list(self._authorized(request).groups.values())
        return _json(odata.page(request, groups, GROUP, _context(request, "groups")))

    async def _create_group(self, request: Request) -> Response:
        group = self._authorized(request).create_group(await _object(request))
        location = f"{request.base_url}v1.0/groups/{group['id']}"
        return _json(_entity(request, "groups", odata.select(group, GROUP, None)), 201, {"Location": location})

    async def _get_group(self, request: Request) -> Response:
        group = self._authorized(request).group(request.path_params["group"])
        wanted = request.query_params.get("$select")
        return _json(_entity(request, "groups", odata.select(group, GROUP, wanted), wanted))

    async def _list_members(self, request: Request) -> Response:
        directory = self._authorized(request)
        group = directory.group(request.path_params["group"])
        members = [directory.users[user_id] for user_id in directory.members[group["id"]]]
        answer = odata.page(request, members, USER, _context(request, "directoryObjects"))
        return _json({**answer, "value": [{"@odata.type": "#microsoft.graph.user", **one} for one in answer["value"]]})

    async def _add_member(self, request: Request) -> Response:
        directory = self._authorized(request)
        reference = _MEMBER_URL.fullmatch(str((await _object(request)).get("@odata.id", "")))
        if reference is None:
            raise bad_request("Invalid URL format specified in @odata.id: it names a directory object, as in "
                              ".../v1.0/directoryObjects/{id}.")
        directory.add_member(request.path_params["group"], reference[1])
        return Response(status_code=204)

    async def _remove_member(self, request: Request) -> Response:
        self._authorized(request).remove_member(request.path_params["group"], request.path_params["member"])
        return Response(status_code=204)

    async def _list_sign_ins(self, request: Request) -> Response:
        sign_ins = self._authorized(request).reports.sign_ins
        return _json(odata.page(request, sign_ins, SIGN_IN, _context(request, "auditLogs/signIns")))

    async def _list_alerts(self, request: Request) -> Response:
        alerts = self._authorized(request).reports.alerts
        return _json(odata.page(request, alerts, ALERT, _context(request, "security/alerts_v2")))

    async def _list_skus(self, request: Request) -> Response:
        skus = list(self._authorized(request).skus.values())
        return _json({"@odata.context": _context(request, "subscribedSkus"), "value": skus})

    async def _organization(self, request: Request) -> Response:
        directory = self._authorized(request)
        return _json({"@odata.context": _context(request, "organization"), "value": [directory.organization()]})


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _object(request: Request) -> Json:
    try:
        given = json.loads(await request.body())
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refusal(400, "BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set "
                                         "and payload is of valid JSON format.")
    given.pop("@odata.type", None)  # Microsoft's own clients send it
    return given


def _guid(value: Any) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError as exc:
        raise bad_request("Cannot convert a primitive value to the expected type 'Edm.Guid'. See the inner exception for "
                          "more details.") from exc


def _context(request: Request, of: str) -> str:
    return f"{request.base_url}v1.0/$metadata#{of}"


def _entity(request: Request, of: str, item: Mapping[str, Any], wanted: str | None = None) -> Json:
    return {"@odata.context": _context(request, f"{of}{f'({wanted})' if wanted else ''}/$entity"), **item}


def _json(body: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, {"Content-Type": _ODATA_JSON, **(headers or {})})


def _graph_error(request: Request, refusal: Refusal) -> Response:
    request_id = str(uuid.uuid4())
    client_request_id = request.headers.get("client-request-id", request_id)
    code, message = _BY_STATUS.get(refusal.status, ("UnknownError", "The request failed."))
    body = {"code": refusal.code or code, "message": refusal.message or message, **refusal.extra,
            "innerError": {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "request-id": request_id,
                           "client-request-id": client_request_id}}
    return JSONResponse({"error": body}, refusal.status, {
        "request-id": request_id, "client-request-id": client_request_id, **refusal.headers})


def _login_error(_request: Request, refusal: Refusal) -> Response:
    code = refusal.code or ("invalid_client" if refusal.status == 401 else "temporarily_unavailable")
    sentence = refusal.message or "AADSTS90033: A transient error has occurred. Please try again."
    number = re.match(r"AADSTS(\d+)", sentence)
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    described = f"{sentence} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
    return JSONResponse({"error": code, "error_description": described, "error_codes": [int(number[1])] if number else [],
                         "timestamp": now, "trace_id": trace, "correlation_id": correlation},
                        refusal.status, dict(refusal.headers))
