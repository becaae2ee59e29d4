"""The embedded stack as its users start it: `bifrost demo`, `bifrost dev`, `bifrost simulate`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.waiting import until

ROOT = Path(__file__).parents[2]


async def _start(directory: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "BIFROST_WORKSPACE": str(ROOT / "workspace"), "BIFROST_LOG_FORMAT": "json",
                   "BIFROST_ORGANIZATIONS": str(ROOT / "deploy" / "organizations.yaml"), **variables}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bifrost", *arguments, cwd=directory, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


async def _first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    if not line:
        assert process.stderr is not None
        pytest.fail((await process.stderr.read()).decode())
    return line


def _children(pid: int) -> set[int]:
    """The processes below a process, as Linux lists them."""
    found: set[int] = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            child = int(status.parent.name)
            found |= {child} | _children(child)
    return found


async def _ended(processes: set[int]) -> None:
    async def gone() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in processes)

    await until(gone)


async def test_the_demo_does_the_main_job_and_checks_it(tmp_path: Path) -> None:
    """`bifrost demo` exits 0, tells what it checked, and leaves no process and no file behind."""
    process = await _start(tmp_path, "demo", "--json", TMPDIR=str(tmp_path))
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["status"] == "Success"
    assert told["result"]["success"] is True
    assert [(row["kind"], row["name"], row.get("attempts")) for row in told["timeline"]] == [
        ("call", "msgraph.create_user", 2), ("call", "msgraph.assign_license", 1), ("checkpoint", "m365_user_created", None),
        ("call", "user_management_api.create_user", 2), ("checkpoint", "internal_user_created", None)]
    for said in ("kill -9", "429", "was never touched", "secrets is in"):
        assert any(said in step for step in told["steps"]), said
    assert not list(tmp_path.iterdir())


async def test_the_demo_can_be_kept_and_interrupted(tmp_path: Path) -> None:
    """With --keep everything stays up, with a link into the Web UI, until Ctrl-C ends it with status 0."""
    process = await _start(tmp_path, "demo", "--keep", "--data", str(tmp_path / "kept"))
    assert process.stdout is not None
    seen = ""
    while "Look at it:" not in seen:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line, seen
        seen += line
    url = line.split("Look at it:")[1].strip()
    assert "✓" in seen
    async with httpx.AsyncClient() as http:
        assert (await http.get(url)).status_code == 200
    children = _children(process.pid)
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    await _ended(children)


async def test_dev_serves_until_ctrl_c(tmp_path: Path) -> None:
    """`bifrost dev` runs executions for whoever sources its env file, keeps its worker alive, and ends with all its children."""
    process = await _start(tmp_path, "dev", "--json")
    ready: dict[str, Any] = json.loads(await _first_line(process))
    environment = dict(line.removeprefix("export ").split("=", 1) for line in Path(ready["env_file"]).read_text().splitlines()
                       if line.startswith("export "))
    assert Path(ready["env_file"]).stat().st_mode & 0o077 == 0
    environment = {name: value.strip("'") for name, value in environment.items()}
    assert environment["TEMPORAL_ADDRESS"] == ready["temporal_address"]
    run = ["run", "create_user_sync", "--org", "globex", "-p", "email=ada@globex.example", "-p", "name=Ada", "--json"]
    started = await _start(tmp_path, *run, **environment)
    out, err = await asyncio.wait_for(started.communicate(), 60)
    assert started.returncode == 0, err.decode()
    assert json.loads(out)["status"] == "Success"

    os.kill(ready["worker_pid"], signal.SIGKILL)
    run[5] = "email=bo@globex.example"
    again = await _start(tmp_path, *run, **environment)
    out, err = await asyncio.wait_for(again.communicate(), 60)
    assert again.returncode == 0, err.decode()

    children = _children(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"The worker ended by itself with status -9" in err
    await _ended(children)
    assert not Path(ready["env_file"]).exists()


async def test_dev_refuses_what_it_cannot_serve(tmp_path: Path) -> None:
    """Without a workspace or organizations nothing is started, and the error says what to create; one folder serves one."""
    process = await _start(tmp_path, "dev", BIFROST_WORKSPACE="nowhere", BIFROST_ORGANIZATIONS="nowhere.yaml")
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"There is no workspace at" in err
    assert b"There are no organizations at" in err


async def test_dev_prints_what_a_person_needs(tmp_path: Path) -> None:
    """Addresses, the file to source and a command to try; a second one in the same folder is refused."""
    process = await _start(tmp_path, "dev", "--no-simulators", "--no-reload")
    assert process.stdout is not None
    text = ""
    while "Ctrl-C stops everything." not in text:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line, text
        text += line
    for said in ("Temporal", "Web UI", "Vault", "run create_user_sync --org acme"):
        assert said in text
    assert "Simulator" not in text
    second = await _start(tmp_path, "dev")
    _, err = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 1
    assert b"Another `bifrost dev` or `bifrost demo` runs in" in err
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0


async def test_simulate_serves_one_simulator(tmp_path: Path) -> None:
    """The address is printed when it answers; Ctrl-C ends it with status 0; an unknown name is refused with those there are."""
    process = await _start(tmp_path, "simulate", "user-api", "--json")
    url = json.loads(await _first_line(process))["url"]
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/health", headers={"Authorization": "Bearer any-key"})).status_code == 200
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    unknown = await _start(tmp_path, "simulate", "msgraf")
    _, err = await asyncio.wait_for(unknown.communicate(), 30)
    assert unknown.returncode == 1
    assert b"msgraph" in err
