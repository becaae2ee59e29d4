"""A small REST API for users, as an organization's internal system may have one.

- `GET /health`: 200 `{"status": "ok"}`, or 401; so clients check their key.
- `POST /users` with `email`, `name` and optionally `department`: 201 with `id`, `email`, `name`, `department`; 400 where
  something is missing, 409 where the organization has a user of that email already.
- `GET /users/{id}`: 200 or 404.

Every request carries `Authorization: Bearer <api key>`. The key tells the organization, and organizations see nothing of
each other. Errors are `{"error": <code>, "message": <sentence>}`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bifrost.dev.simulators.base import Refusal, Simulator


class UserAPISimulator(Simulator):
    """The user API.

    Args:
        api_keys: The organization's id by API key. None accepts every key, each as an organization of its own.
        idempotent: See `Simulator`.
    """

    name: ClassVar[str] = "user-api"

    def __init__(self, api_keys: Mapping[str, str] | None = None, *, idempotent: bool = True) -> None:
        super().__init__(idempotent=idempotent)
        self._api_keys = None if api_keys is None else dict(api_keys)
        self._users: dict[str, dict[str, dict[str, Any]]] = {}
        self._created = 0

    def routes(self) -> Sequence[Route]:
        return [Route("/health", self._health, methods=["GET"]), Route("/users", self._create, methods=["POST"]),
                Route("/users/{user_id}", self._get, methods=["GET"])]

    def tenant_of(self, request: Request) -> str | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return None
        if self._api_keys is None:
            # The journal shows this name, so it must not be the key itself.
            return f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        return self._api_keys.get(key)

    def error(self, request: Request, refusal: Refusal) -> Response:  # noqa: ARG002 - the port's signature
        phrase = HTTPStatus(refusal.status).phrase
        body = {"error": refusal.code or phrase.lower().replace(" ", "_"), "message": refusal.message or phrase}
        return JSONResponse(body, status_code=refusal.status, headers=dict(refusal.headers))

    def _users_of(self, request: Request) -> dict[str, dict[str, Any]]:
        organization = self.tenant_of(request)
        if organization is None:
            raise Refusal(401, message="The API key is missing or unknown", headers={"WWW-Authenticate": "Bearer"})
        return self._users.setdefault(organization, {})

    async def _health(self, request: Request) -> Response:
        self._users_of(request)
        return JSONResponse({"status": "ok"})

    async def _create(self, request: Request) -> Response:
        users = self._users_of(request)
        try:
            given = json.loads(await request.body())
        except ValueError as exc:
            raise Refusal(400, message="The body is not JSON") from exc
        texts = given if isinstance(given, dict) else {}
        wrong = [name for name in ("email", "name") if not (isinstance(texts.get(name), str) and texts[name])]
        if wrong:
            raise Refusal(400, message=f"Missing, or not a text: {', '.join(wrong)}")
        if any(user["email"].casefold() == given["email"].casefold() for user in users.values()):
            raise Refusal(409, message="A user with this email already exists")
        self._created += 1
        user = {"id": f"user-{self._created}", "email": given["email"], "name": given["name"],
                "department": given.get("department")}
        users[user["id"]] = user
        return JSONResponse(user, status_code=201, headers={"Location": f"/users/{user['id']}"})

    async def _get(self, request: Request) -> Response:
        user = self._users_of(request).get(request.path_params["user_id"])
        if user is None:
            raise Refusal(404, message="There is no user of that id")
        return JSONResponse(user)
