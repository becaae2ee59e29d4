"""A connection to Vault that stays logged in and waits through short outages.

A token is renewed when it is used after two thirds of its lease, and replaced by a new login when it has expired or was revoked:
on use, so that nothing runs in the background. hvac blocks, so its requests run in threads of the connection's own; where Vault is
slow, nothing else of the process waits for a thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import hvac
import requests
import structlog

from bifrost.errors import ConfigurationError, IntegrationError, PermissionError, WorkflowException  # noqa: A004 - the guide's name
from bifrost.secrets.vault_login import Clients, Lease, Login, chosen
from bifrost.settings import Settings

PATIENCE: Final = 10.0
"""For how many seconds a request is made again while Vault is away, sealed or overloaded."""
TIMEOUT: Final = (3.05, 10.0)
"""Seconds to connect, and between two bytes of an answer."""
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_THREADS: Final = 10  # as many connections as requests keeps to one host
T = TypeVar("T")
_log = structlog.stdlib.get_logger("bifrost.vault")

Request = Callable[[hvac.Client], requests.Response]
"""What is asked, of a client that is logged in, has the `RawAdapter` and ignores exceptions."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request touches, for messages: its place as people call it, the path of Vault's API, and the capabilities that it takes."""

    place: str
    path: str
    capabilities: tuple[str, ...]

    @property
    def policy(self) -> str:
        """The rule that allows it (https://developer.hashicorp.com/vault/docs/concepts/policies)."""
        quoted = ", ".join(f'"{one}"' for one in self.capabilities)
        return f'path "{self.path}" {{ capabilities = [{quoted}] }}'


@dataclass(frozen=True, slots=True)
class Answer:
    """What Vault answered: the status, the JSON object (empty where there is none) and, of an error, the reason."""

    status: int
    content: dict[str, Any]
    reason: str

    @classmethod
    def of(cls, response: requests.Response) -> Answer:
        """Read a response.

        Raises:
            IntegrationError: it says that it succeeded, and is not what Vault answers. An error that is no JSON is one, as proxies answer.
        """
        try:
            content = response.json() if response.content else {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            if response.ok:
                raise IntegrationError(f"What answers at {response.url} is not Vault: it did not answer a JSON object",
                                       integration="vault", status_code=502)
            content = {}
        return cls(response.status_code, content, "; ".join(map(str, content.get("errors") or [response.reason])))

    def required(self, access: Access) -> dict[str, Any]:
        """The object, if the request succeeded.

        Raises:
            IntegrationError: it did not; with the status.
        """
        if self.status >= 400:
            raise IntegrationError(f"Vault answered {self.status} for {access.place}: {self.reason}", integration="vault",
                                   status_code=self.status)
        return self.content


@dataclass(frozen=True, slots=True)
class _Session:
    lease: Lease
    client: hvac.Client = field(repr=False)


class VaultConnection:
    """One Vault, one way to log in. It may be used from several event loops and threads.

    Args:
        address: Where Vault answers, for messages.
        clients: Makes an hvac client with a token.
        login: The way to a token. It is first taken when something is asked.
        patience: For how many seconds a request is made again while Vault is away; 0 for once only.
    """

    def __init__(self, address: str, clients: Clients, login: Login, *, patience: float = PATIENCE) -> None:
        self.address = address
        self._clients = clients
        self._login = login
        self._patience = patience
        self._session: _Session | None = None
        self._entering = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault")

    @classmethod
    def from_settings(cls, settings: Settings, *, patience: float = PATIENCE, timeout: tuple[float, float] = TIMEOUT) -> Self:
        """The connection that the settings describe. Nothing is asked of Vault yet.

        Raises:
            ConfigurationError: there is no way to log in, or several.
        """
        login = chosen(settings)
        session = requests.Session()
        session.verify = not settings.vault_skip_verify and (settings.vault_cacert or settings.vault_capath or True)
        if settings.vault_tls_server_name:
            session.mount("https://", _NamedServer(settings.vault_tls_server_name))

        def clients(token: str) -> hvac.Client:
            # Raw answers: hvac's exceptions lose the status code, which decides here whether a call is tried again.
            return hvac.Client(
                url=settings.vault_addr, token=token, namespace=settings.vault_namespace or None, session=session,
                verify=session.verify, adapter=hvac.adapters.RawAdapter, ignore_exceptions=True,
                timeout=timeout)  # type: ignore[arg-type]  # passed on to requests, which takes two bounds

        return cls(settings.vault_addr, clients, login, patience=patience)

    async def ask(self, request: Request, access: Access) -> Answer:
        """Make a request, again and again with growing pauses while Vault is away; an answer of any other status is the caller's.

        Raises:
            IntegrationError: Vault could not be reached, was sealed or failed all the time; may be tried again.
            PermissionError: Vault refuses; names the rule that a policy lacks.
            ConfigurationError: there is no login, or no connection, with these settings.
        """
        loop = asyncio.get_running_loop()
        began, pause, attempts = time.monotonic(), _PAUSE, 1
        while True:
            try:
                return await loop.run_in_executor(self._threads, self._attempt, request, access)
            except IntegrationError as error:
                tried = time.monotonic() - began
                if tried >= self._patience:
                    raise error if attempts == 1 else _after(error, attempts, tried) from error.__cause__
            await asyncio.sleep(min(pause * random.uniform(0.5, 1), max(self._patience - tried, 0.01)))  # noqa: S311 - no secret
            pause, attempts = min(2 * pause, _LONGEST_PAUSE), attempts + 1

    # --- in a thread ---------------------------------------------------------------------------------------------

    def _attempt(self, request: Request, access: Access) -> Answer:
        answer, alive = self._reached(lambda: self._exchange(request))
        if answer.status == 403:
            reason = ("no policy of its token allows this" if alive else
                      f"the token has expired or was revoked ({self._login.cure}), or no policy of it allows this")
            raise PermissionError(f"Vault refuses access to {access.place}: {reason}. It takes: {access.policy}",
                                  required_permission=access.place)
        if answer.status == 503 and "sealed" in answer.reason.lower():
            raise IntegrationError(f"Vault at {self.address} is sealed: it answers nothing until an operator unseals it",
                                   integration="vault", status_code=503)
        if answer.status == 429 or answer.status >= 500:
            answer.required(access)
        return answer

    def _exchange(self, request: Request) -> tuple[Answer, bool]:
        """The answer, and whether Vault accepted the token that it was asked with, as far as it says."""
        session = self._current()
        answer = Answer.of(request(session.client))
        if answer.status != 403 or session.client.auth.token.lookup_self().ok:
            return answer, True
        fresh = self._replaced(session)  # 403 is what Vault answers to an expired token, too
        if fresh.lease.token == session.lease.token:
            return answer, False
        return Answer.of(request(fresh.client)), True

    def _current(self) -> _Session:
        session, now = self._session, time.monotonic()
        if session and (now < session.lease.renew_at or (now < session.lease.ends_at and self._entering.locked())):
            return session  # while one renews it, the others use what is still good
        with self._entering:
            if self._session is None or time.monotonic() >= self._session.lease.renew_at:
                self._session = self._prolonged(self._session)
            return self._session

    def _prolonged(self, session: _Session | None) -> _Session:
        try:
            return self._renewed(session) or self._entered()
        except (OSError, WorkflowException) as error:
            if session is None or time.monotonic() >= session.lease.ends_at:
                raise
            _log.warning("the token for Vault is not renewed yet", reason=type(error).__name__)
            return _Session(session.lease.later(), session.client)

    @staticmethod
    def _renewed(session: _Session | None) -> _Session | None:
        """The same token for longer; None where Vault does not extend it: because it may not be, is gone, or has reached its end."""
        if session is None or not session.lease.renewable or time.monotonic() >= session.lease.ends_at:
            return None
        answer = Answer.of(session.client.auth.token.renew_self())
        granted = answer.content.get("auth")
        if answer.status != 200 or not isinstance(granted, dict):
            return None
        seconds = float(granted.get("lease_duration") or 0)
        return _Session(Lease.of(session.lease.token, seconds, renewable=bool(granted.get("renewable"))), session.client)

    def _entered(self) -> _Session:
        lease = self._login.open(self._clients)
        return _Session(lease, self._clients(lease.token))

    def _replaced(self, refused: _Session) -> _Session:
        """A session in the place of one that Vault refuses; whoever comes first logs in for all."""
        with self._entering:
            if self._session is None or self._session.lease.token == refused.lease.token:
                self._session = self._entered()
            return self._session

    def _reached(self, work: Callable[[], T]) -> T:
        """Do what asks Vault, and name what keeps it from being reached."""
        try:
            return work()
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if not isinstance(error, requests.exceptions.SSLError):
                raise IntegrationError(f"Vault at {self.address} cannot be reached: {type(error).__name__}",
                                       integration="vault") from error
            raise ConfigurationError(f"There is no trusted TLS connection to Vault at {self.address}: set VAULT_CACERT to the file "
                                     "of its certificate authority (and VAULT_TLS_SERVER_NAME, if its certificate is for another "
                                     "name), and check that VAULT_ADDR is https where Vault speaks TLS, and only there",
                                     config_key="VAULT_CACERT") from error
        except OSError as error:  # every error of requests is one: a URL it cannot use, a certificate file that is missing
            raise ConfigurationError(f"Vault cannot be asked at '{self.address}': {error}. Check VAULT_ADDR and VAULT_CACERT",
                                     config_key="VAULT_ADDR") from error


def _after(error: IntegrationError, attempts: int, seconds: float) -> IntegrationError:
    return IntegrationError(f"{error}; tried {attempts} times in {seconds:.1f} seconds", details=error.details)


class _NamedServer(requests.adapters.HTTPAdapter):
    """Asks for, and expects, a certificate for another name than the address's."""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, server_hostname=self._name, assert_hostname=self._name)
