"""A client for a simulator's own endpoints: read its journal, make it fail, let held calls go on.

For tests and the demo, which run against simulators in other processes::

    async with SimulatorControl(url) as control:
        await control.fail(method="POST", path="/v1.0/users", hold=True, after=True)
        ...                                          # start an execution
        await control.wait_for(state="held")         # the user exists, and nobody has been told
        ...                                          # kill the worker
        await control.release()
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Self

import httpx

from bifrost.dev.simulators.faults import Fault
from bifrost.dev.simulators.journal import Entry
from bifrost.errors import IntegrationError, TimeoutError  # noqa: A004 - the name is the guide's

_POLL_SECONDS = 0.02


class SimulatorControl:
    """The simulator at `url`. Close it with `aclose`, or use it in `async with`.

    Every method raises `IntegrationError` where there is no simulator at the URL, or where it refuses.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 10) -> None:
        self.url = url.rstrip("/")
        # Loading certificates would take longer than all the calls.
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeout_seconds, trust_env=False,
                                       verify=self.url.startswith("https:"))

    async def journal(self, method: str | None = None, path: str | None = None, tenant: str | None = None, *,
                      exact: bool = False, state: str | None = None) -> list[Entry]:
        """The requests received, oldest first: of a method, of paths (see `journal.path_matches`), of a tenant, in a
        state; all by default.
        """
        asked = {"method": method, "path": path, "tenant": tenant, "state": state, "exact": "true" if exact else None}
        answer = await self._ask("GET", "/_journal",
                                 params={name: value for name, value in asked.items() if value is not None})
        return [Entry.model_validate(entry) for entry in answer.json()]

    async def wait_for(self, count: int = 1, *, method: str | None = None, path: str | None = None,
                       tenant: str | None = None, exact: bool = False, state: str | None = None,
                       timeout_seconds: float = 10) -> list[Entry]:
        """The journal's entries of that choice, as soon as there are `count` of them.

        Raises:
            TimeoutError: there were fewer all the time.
        """
        deadline = time.monotonic() + timeout_seconds
        while len(found := await self.journal(method, path, tenant, exact=exact, state=state)) < count:
            if time.monotonic() > deadline:
                asked = " ".join(word for word in (state, method, path, tenant) if word) or "any"
                raise TimeoutError(f"The simulator at {self.url} received {len(found)} of {count} requests ({asked}) "
                                   f"within {timeout_seconds:g} seconds", timeout_seconds=timeout_seconds)
            await asyncio.sleep(_POLL_SECONDS)
        return found

    async def fail(self, method: str | None = None, path: str = "", **fault: Any) -> None:
        """Put a fault into force; the keywords are the attributes of `faults.Fault`."""
        await self._ask("POST", "/_faults", json=Fault(method=method, path=path, **fault).model_dump())

    async def faults(self) -> list[Fault]:
        """The faults in force, with the times that are left of each."""
        return [Fault.model_validate(fault) for fault in (await self._ask("GET", "/_faults")).json()]

    async def release(self) -> int:
        """Let every held call go on; says how many there were."""
        return int((await self._ask("POST", "/_release")).json()["released"])

    async def clear(self) -> None:
        """Forget the journal and every fault. Calls that are held stay held."""
        await self._ask("DELETE", "/_journal")
        await self._ask("DELETE", "/_faults")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.aclose()

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **options)
            answer.raise_for_status()
        except httpx.HTTPStatusError as exc:
            raise IntegrationError(f"The simulator at {self.url} refused {method} {path}: {exc.response.text}",
                                   integration="simulator", status_code=exc.response.status_code) from exc
        except httpx.HTTPError as exc:
            raise IntegrationError(f"No simulator answers at {self.url}: {type(exc).__name__} {exc}",
                                   integration="simulator") from exc
        return answer
