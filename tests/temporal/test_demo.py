"""`bifrost dev` and `bifrost demo` as a user runs them: whole processes, ended by Ctrl-C, leaving nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.waiting import until

ROOT = Path(__file__).parents[2]
Process = asyncio.subprocess.Process
Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a command in an empty folder, with the sample workspace; what still runs at the end is killed."""
    started: list[Process] = []

    async def command(*arguments: str, **more: str) -> Process:
        environment = {**os.environ, "BIFROST_WORKSPACE": str(ROOT / "workspace"),
                       "BIFROST_ORGANIZATIONS": str(ROOT / "deploy" / "organizations.yaml"), **more}
        started.append(await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bifrost", *arguments, cwd=tmp_path, env=environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE))
        return started[-1]

    yield command
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _line(stream: asyncio.StreamReader | None, wanted: str) -> str:
    """Everything up to the first line that holds the text."""
    assert stream is not None
    read = ""
    async with asyncio.timeout(60):
        while wanted not in read.rpartition("\n")[2] or not read:
            line = (await stream.readline()).decode()
            assert line, f"ended before {wanted!r}: {read}"
            read += "\n" * bool(read) + line.removesuffix("\n")
    return read


def _children(process: Process) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children]


async def _interrupted(process: Process, number: signal.Signals = signal.SIGINT) -> tuple[int | None, str, str]:
    """The exit status and what else was printed; every child has ended."""
    children = _children(process)
    assert len(children) >= 2, "Temporal and Vault"
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_checks_what_it_tells(start: Start, tmp_path: Path) -> None:
    """It exits 0 after every check was passed, tells each of them, and with --keep stays until Ctrl-C, with the Web UI up.

    With --json standard output is one document, with the timeline and every step. Nothing is left behind.
    """
    process = await start("demo", "--keep", "--json", TMPDIR=str(tmp_path))
    told = await _line(process.stderr, "Ctrl-C ends it.")
    for step in ("is answered 429, Retry-After: 1", "has the checkpoint m365_user_created", "kill -9", "created nobody",
                 "after its start: Success", "Journal of Microsoft 365: one user was created for Acme Ltd, and Globex",
                 "Journal of the internal system: one user", "was not called again", "None of acme's 3 secrets",
                 "msgraph.create_user              2 attempts", "checkpoint  m365_user_created"):
        assert step in told
    assert "✗" not in told
    assert "\033" not in told, "colour is for terminals"
    assert process.stdout is not None
    outcome = json.loads(await process.stdout.readline())
    assert outcome["status"] == "Success"
    assert outcome["result"]["success"] is True
    assert [(row["name"], row.get("attempts")) for row in outcome["timeline"]] == [
        ("msgraph.create_user", 2), ("msgraph.assign_license", 1), ("m365_user_created", None),
        ("user_management_api.create_user", 2), ("internal_user_created", None)]
    link = re.search(r"http://\S+/workflows/(\S+)", told)
    assert link is not None
    assert link[1] == outcome["execution_id"]
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(link[0])).status_code == 200
    for said in ("kill -9", "429", "was never touched", "secrets is in"):
        assert any(said in step for step in outcome["steps"]), said
    status, rest, _ = await _interrupted(process)
    assert (status, rest) == (0, "")
    assert not list(tmp_path.iterdir())


async def test_a_demo_that_is_interrupted_has_not_passed(start: Start) -> None:
    """Ctrl-C in the middle ends everything; the exit status is not 0."""
    process = await start("demo")
    await _line(process.stdout, "Started for Acme Ltd")
    status, out, _ = await _interrupted(process)
    assert status == 130
    assert "Every line above was checked" not in out


async def test_an_execution_that_fails_early_fails_the_demo(start: Start, tmp_path: Path) -> None:
    """It is said at once, with the execution's error; the exit status is 1, and the folder that was chosen is kept."""
    (tmp_path / "broken" / "workflows").mkdir(parents=True)
    (tmp_path / "broken" / "workflows" / "broken.py").write_text(
        "from bifrost import workflow\n\n@workflow(name='create_user_sync')\n"
        "async def create_user_sync(context):\n    raise ValueError('not today')\n")
    process = await start("demo", "--json", "--data", "kept", BIFROST_WORKSPACE="broken", BIFROST_LOG_FORMAT="json")
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    failed = json.loads(out)
    assert failed["error"] == "DemoFailed"
    assert failed["message"].endswith("ended before its worker was killed: not today")
    assert (tmp_path / "kept" / "temporal" / "temporal.db").exists()


async def test_dev_runs_what_it_prints_and_ends_with_ctrl_c(start: Start, tmp_path: Path) -> None:
    """The example works as it is printed, also after the worker was killed and replaced; one Ctrl-C ends every child."""
    process = await start("dev", "--reload", BIFROST_LOG_FORMAT="json")
    printed = await _line(process.stdout, "Ctrl-C stops everything.")
    assert "Kept in             .bifrost/dev" in printed
    [commands] = re.findall(r"In another shell:\n\n((?:  .+\n)+)", printed)
    assert "VAULT_TOKEN" not in printed

    [worker] = [pid for pid in _children(process) if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    said = await _line(process.stderr, "The worker ended by itself with status -9; another one is started in 1 s")
    shell = await asyncio.create_subprocess_exec("/bin/sh", "-ec", commands, cwd=tmp_path, stdout=-1, stderr=-1)
    out, err = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0, err.decode()
    assert json.loads(out)["email"] == "ada@acme.example"

    async def replaced() -> bool:
        return len(_children(process)) >= 3

    await until(replaced)
    status, out_rest, err_rest = await _interrupted(process)
    assert (status, out_rest) == (0, "")
    assert "Everything has ended" in err_rest
    for line in f"{said}\n{err_rest}".splitlines():
        json.loads(line)  # standard error is promised to be JSON
    assert not (tmp_path / ".bifrost" / "dev" / "env").exists()


async def test_dev_prints_one_line_for_programs_and_ends_with_sigterm(start: Start, tmp_path: Path) -> None:
    """With --json everything there is to know is one line; without simulators, organizations are the people's own."""
    process = await start("dev", "--json", "--no-simulators", "--no-reload", "--data", "kept")
    ready = json.loads(await _line(process.stdout, "{"))
    assert ready["simulators"] == {}
    assert ready["organizations"] == str(ROOT / "deploy" / "organizations.yaml")
    assert ready["env_file"] == str(tmp_path / "kept" / "env")
    assert ready["task_queue"] == "bifrost"
    assert ready["worker_pid"] in _children(process)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(ready["ui_url"])).status_code == 200
        assert (await http.get(f"{ready['vault_addr']}/v1/sys/health")).status_code == 200
    status, _, _ = await _interrupted(process, signal.SIGTERM)
    assert status == 0


async def test_a_first_worker_that_cannot_start_ends_dev(start: Start, tmp_path: Path) -> None:
    """The reason is said with the end of the worker's log, the exit status is 1, and nothing is left."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "bad.py").write_bytes(b"\xff")
    process = await start("dev", "--json", BIFROST_WORKSPACE="broken")
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "bad.py is not UTF-8" in json.loads(out)["message"]
    assert "worker-1 ended with status 1. The end of " in err.decode()


async def test_a_simulator_serves_until_ctrl_c(start: Start) -> None:
    """Its address is printed once it answers, as JSON or for people; an unknown name is refused with those there are."""
    for form, pattern in (("--json", r'"url": "(http://[^"]+)"'), ("--port=0", r"user-api answers at (http://\S+)")):
        process = await start("simulate", "user-api", form)
        address = re.search(pattern, await _line(process.stdout, "http"))
        assert address is not None
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{address[1]}/health")).status_code == 401
        process.send_signal(signal.SIGINT)
        with suppress(ProcessLookupError):
            await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0
    process = await start("simulate", "usr-api")
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "Did you mean 'user-api'? There are: halopsa, msgraph, user-api." in err.decode()


async def test_dev_refuses_what_it_cannot_serve(start: Start) -> None:
    """Without a workspace or organizations nothing is started, and the error says what to create."""
    process = await start("dev", BIFROST_WORKSPACE="nowhere", BIFROST_ORGANIZATIONS="nowhere.yaml")
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"There is no workspace at" in err
    assert b"There are no organizations at" in err


async def test_one_folder_serves_one_stack(start: Start) -> None:
    """A second `bifrost dev` in the same folder is refused, and the first goes on."""
    first = await start("dev", "--no-simulators", "--no-reload")
    await _line(first.stdout, "Ctrl-C stops everything")
    second = await start("dev")
    _, err = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 1
    assert b"Another `bifrost dev` or `bifrost demo` runs in" in err
    first.send_signal(signal.SIGTERM)
    await asyncio.wait_for(first.communicate(), 60)
    assert first.returncode == 0
