"""The organization's internal user system, a small REST API.

Configuration `user_management_api_url`; secret `user_management_api_key`.
"""

from typing import Any
from urllib.parse import quote

from bifrost import BaseIntegration, register_integration


class UserManagementAPIIntegration(BaseIntegration):
    """Users of the internal system. `self.http` turns refusals into errors and keeps record of the calls."""

    integration_name = "user_management_api"

    async def authenticate(self) -> None:
        """Take the organization's URL and key, and see whether they work."""
        self.http.base_url = self.get_config("user_management_api_url", "https://api.example.com")
        self.http.token = await self.get_secret("user_management_api_key")
        self.http.headers["User-Agent"] = "Bifrost-Integrations/1.0"
        await self.http.get("/health")

    async def create_user(self, email: str, name: str, department: str = "") -> dict[str, Any]:
        """Create a user.

        Every attempt of a call carries the same `Idempotency-Key`, so the system answers a retry with the user of the
        first attempt. The body is the same in every attempt too: nothing in it comes from the clock.
        """
        response = await self.http.post("/users", json={"email": email, "name": name, "department": department})
        user: dict[str, Any] = response.json()
        self.context.log("info", "User created in external system", {"user_id": user.get("id")})
        return user

    async def get_user(self, user_id: str) -> dict[str, Any]:
        """One user; an unknown id is an `IntegrationError` with the status code 404."""
        response = await self.http.get(f"/users/{quote(user_id, safe='')}")
        user: dict[str, Any] = response.json()
        return user


register_integration("user_management_api", UserManagementAPIIntegration)
