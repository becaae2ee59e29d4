"""The command line, as a person and a program use it: real processes, on the session's servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.temporal_server import TemporalServer, find_temporal
from bifrost.dev.vault_server import VaultServer
from tests.temporal.conftest import API_KEYS, GRAPH_SECRETS, SAMPLE, write_organizations
from tests.waiting import until

USER = ["-p", "name=Ada", "-p", "department=IT", "-p", "license_sku=ENTERPRISEPACK"]


@dataclass
class Ended:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, which must be one JSON document."""
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs commands in one environment."""

    environment: dict[str, str]
    directory: Path
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, *arguments: str, **more: str) -> asyncio.subprocess.Process:
        """Start a command, with further variables by keyword."""
        self.started.append(await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bifrost", *arguments, env={**os.environ, **self.environment, **more}, cwd=self.directory,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE))
        return self.started[-1]

    async def __call__(self, *arguments: str, stdin: str = "", **more: str) -> Ended:
        """Run a command to its end."""
        process = await self.start(*arguments, **more)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return Ended(process.returncode if process.returncode is not None else -1, out.decode(), err.decode())


@pytest.fixture(scope="module")
async def shell(tmp_path_factory: pytest.TempPathFactory, temporal_server: TemporalServer, vault_server: VaultServer,
          graph_server: SimulatorServer, user_api_server: SimulatorServer) -> AsyncIterator[Shell]:
    """A shell that is connected to the session's servers, in the sample workspace."""
    directory = tmp_path_factory.mktemp("shell")
    write_organizations(directory, graph_server.url, user_api_server.url)
    connected = Shell({
        "TEMPORAL_ADDRESS": temporal_server.address, "VAULT_ADDR": vault_server.address, "VAULT_TOKEN": vault_server.token,
        "BIFROST_WORKSPACE": str(SAMPLE), "BIFROST_ORGANIZATIONS": "organizations.yaml",
        "BIFROST_TASK_QUEUE": "command-line", "BIFROST_VAULT_PREFIX": "command-line",
        "BIFROST_LOG_FORMAT": "json", "PYTHONHASHSEED": "1"}, directory)
    yield connected
    for process in connected.started:
        if process.returncode is None:  # of a test that failed
            process.kill()
            await process.wait()


@pytest.fixture(scope="module")
async def worker(shell: Shell) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process, with the secrets that it needs, stopped by SIGTERM at the end: with exit status 0."""
    for tenant in GRAPH_SECRETS:
        for name, value in (("msgraph_client_secret", GRAPH_SECRETS[tenant]), ("user_management_api_key", API_KEYS[tenant])):
            assert (await shell("secrets", "set", name, "--org", tenant, stdin=f"{value}\n")).status == 0
    process = await shell.start("worker")
    assert process.stderr is not None
    while "worker ready" not in (line := (await asyncio.wait_for(process.stderr.readline(), 30)).decode()):
        assert line, "the worker ended"
    ready = json.loads(line)
    assert ready["task_queue"] == "command-line"
    assert ready["workflows"] == ["weekly_license_audit", "create_m365_user", "create_user_sync"]
    yield process
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    for printed in err.decode().splitlines():
        json.loads(printed)  # with BIFROST_LOG_FORMAT=json every line is one object


async def test_a_worker_brings_schedules_in_line(shell: Shell, worker: Any) -> None:
    """By itself when it starts: one for each organization, with its next time."""
    async def listed() -> Any:
        return (await shell("schedules", "list", "--json")).json

    assert [one["schedule"] for one in await until(listed)] == [f"command-line/weekly_license_audit/{tenant}" for tenant in GRAPH_SECRETS]


async def test_a_run_prints_its_result_as_json(shell: Shell, worker: Any, graph: SimulatorControl,
                                               user_api: SimulatorControl) -> None:
    """`run --json` prints one document with the promised keys, and exits 0 on success."""
    ended = await shell("run", "create_user_sync", "--org", "acme", "-p", "email=cli@acme.example", *USER, "--json")
    assert ended.status == 0, ended.err
    assert set(ended.json) == {"execution_id", "run_id", "status", "result", "error"}
    assert (ended.json["status"], ended.json["error"], ended.json["result"]["success"]) == ("Success", None, True)

    shown = (await shell("executions", "show", ended.json["execution_id"], "--json")).json
    assert {"workflow": "create_user_sync", "org_id": "acme", "status": "Success"}.items() <= shown.items()
    assert [one["name"] for one in shown["checkpoints"]] == ["m365_user_created", "internal_user_created"]
    assert set(shown["checkpoints"][0]) == {"name", "data", "at"}
    assert [(one["name"], one["attempts"], one["status"]) for one in shown["calls"]] == [
        ("msgraph.create_user", 1, "success"), ("msgraph.assign_license", 1, "success"),
        ("user_management_api.create_user", 1, "success")]
    people = await shell("executions", "show", ended.json["execution_id"])
    assert "checkpoint m365_user_created" in people.out
    logged = await shell("executions", "logs", ended.json["execution_id"], "--json")
    assert [set(json.loads(line)) for line in logged.out.splitlines()] == [{"at", "level", "message", "data"}] * 2
    assert "synchronized user" in (await shell("executions", "logs", ended.json["execution_id"])).out


async def test_temporals_own_command_line_starts_and_reads_executions(shell: Shell, worker: Any, graph: SimulatorControl,
                                                                      user_api: SimulatorControl) -> None:
    """With plain Temporal tools an execution is started by its type, and its calls and checkpoints are seen by name."""
    async def temporal(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(find_temporal()), *arguments, env={**os.environ, **shell.environment}, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        return out.decode()

    given = {"org_id": "acme", "params": {"email": "plain@acme.example", "name": "A", "department": "IT",
                                          "license_sku": "ENTERPRISEPACK"}}
    executed = await temporal("workflow", "execute", "--type", "create_user_sync", "--task-queue", "command-line",
                              "--workflow-id", "w1", "--input", json.dumps(given))
    assert '"success":true' in executed
    shown = await temporal("workflow", "show", "-w", "w1", "--detailed")
    for name in ("msgraph.create_user", "msgraph.assign_license", "checkpoint:m365_user_created",
                 "user_management_api.create_user", "checkpoint:internal_user_created"):
        assert name in shown

    async def listed() -> bool:
        return "w1" in await temporal("workflow", "list", "--query", "BifrostOrg = 'acme' AND BifrostOutcome = 'Success'")

    await until(listed)


async def test_a_failed_run_exits_1_and_says_why(shell: Shell, worker: Any) -> None:
    """The error of the execution is what the command prints, for people on standard error and as JSON."""
    people = await shell("run", "create_user_sync", "--org", "acme", "-p", "email=nobody", *USER)
    assert people.status == 1
    assert "Failed: ValidationError: Parameter 'email' must be an email address" in people.err
    assert "  field: email" in people.err
    [started, _] = people.err.split(" started", 1)
    shown = await shell("executions", "show", started)
    assert "ValidationError: Parameter 'email'" in shown.out
    assert shown.status == 0
    assert people.out == ""
    programs = await shell("run", "create_user_sink", "--org", "acme", "--json")
    assert programs.status == 1
    assert programs.json["status"] == "Failed"
    assert programs.json["error"]["error"] == "NotFoundError"
    assert programs.json["error"]["details"]["near"][0] == "create_user_sync"


async def test_parameters_come_from_a_file_or_standard_input(shell: Shell, worker: Any) -> None:
    """`--params-json` reads one object; `-p` goes before it; anything else is refused before a start."""
    given = json.dumps({"email": "x", "name": "Ada"})
    ended = await shell("run", "create_user_sync", "--org", "acme", "--params-json", "-", "-p", "email=nobody", "--json",
                        stdin=given)
    assert "'email' must be an email address" in ended.json["error"]["message"]
    (shell.directory / "list.json").write_text("[1]")
    for source, said in (("nowhere.json", "cannot be read"), ("list.json", "no JSON object")):
        refused = await shell("run", "create_user_sync", "--params-json", source, "--json")
        assert (refused.status, refused.json["error"]) == (1, "ValidationError")
        assert said in refused.err
    wrong = await shell("run", "create_user_sync", "-p", "email")
    assert wrong.status == 2
    assert "KEY=VALUE" in wrong.err


async def test_an_execution_can_be_signalled_cancelled_and_terminated(shell: Shell, worker: Any) -> None:
    """`--no-wait` answers at once, and the same id twice is one execution; the others act on it and report."""
    ids = []
    for _ in range(2):
        ended = await shell("run", "patient", "--org", "acme", "--no-wait", "--execution-id", "the-same",
                            BIFROST_TASK_QUEUE="nobody-serves-this")
        assert ended.status == 0
        ids.append(ended.out.strip())
    assert ids == ["the-same", "the-same"]
    started = await shell("run", "patient", "--no-wait", "--execution-id", "a-signalled-one", "--json",
                          BIFROST_TASK_QUEUE="nobody-serves-this")
    assert started.json["status"] == "Running"
    assert (await shell("executions", "signal", "the-same", "go", "--data", '{"by": "ada"}')).status == 0
    assert (await shell("executions", "signal", "the-same", "go", "--data", "{")).status == 2
    assert (await shell("executions", "cancel", "the-same")).status == 0
    assert (await shell("executions", "terminate", "the-same", "--reason", "enough")).status == 0
    assert (await shell("executions", "terminate", "a-signalled-one")).status == 0
    shown = (await shell("executions", "show", "the-same", "--json")).json
    assert shown["status"] == "Terminated"
    assert "enough" in shown["error"]["message"]
    for command in (("cancel",), ("terminate",), ("signal",)):
        missing = await shell("executions", *command, "no-such-one", *(["go"] if command == ("signal",) else []))
        assert missing.status == 1
        assert "Execution 'no-such-one' not found" in missing.err
    ended_already = await shell("run", "patient", "--no-wait", "--execution-id", "the-same")
    assert ended_already.status == 1
    assert "has ended" in ended_already.err


async def test_executions_are_listed(shell: Shell, worker: Any) -> None:
    """The list is a table for people and JSON for programs; filters narrow it."""
    await shell("run", "create_user_sync", "--org", "acme", "--execution-id", "listed", "-p", "email=nobody", *USER)

    async def listed() -> Any:
        found = (await shell("executions", "list", "--org", "acme", "--status", "Failed", "--json")).json
        return [one for one in found if one["execution_id"] == "listed"]

    [found] = await until(listed)
    assert (found["workflow"], found["status"], found["org_id"]) == ("create_user_sync", "Failed", "acme")
    table = await shell("executions", "list", "--workflow", "create_user_sync")
    assert "EXECUTION" in table.out
    assert "listed" in table.out
    assert "No executions." in (await shell("executions", "list", "--workflow", "never_run")).out


async def test_executions_of_an_organization_that_has_left_say_so(shell: Shell, worker: Any) -> None:
    """What runs for it goes on; whoever reads of it is told that it is inactive, or not known any more."""
    await shell("run", "create_user_sync", "--org", "acme", "--execution-id", "left", "-p", "email=nobody", *USER)
    assert (await shell("executions", "show", "left", "--json")).json["org_left"] is None
    (shell.directory / "inactive.yaml").write_text("id: acme\nname: Acme\nactive: false\n")
    (shell.directory / "unknown.yaml").write_text("organizations: []\n")
    for how in ("inactive", "unknown"):
        there = {"BIFROST_ORGANIZATIONS": f"{how}.yaml"}
        assert (await shell("executions", "show", "left", "--json", **there)).json["org_left"] == how
    assert f"acme ({how})" in (await shell("executions", "show", "left", **there)).out
    assert f"acme ({how})" in (await shell("executions", "list", "--org", "acme", **there)).out
    assert (await shell("executions", "show", "left", BIFROST_ORGANIZATIONS="nowhere.yaml")).status == 0


async def test_workflows_are_listed_and_shown(shell: Shell) -> None:
    """The workspace's workflows are read from the files: no server is asked."""
    nowhere = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "VAULT_ADDR": "http://127.0.0.1:1"}
    listed = await shell("workflows", "list", "--json", **nowhere)
    assert listed.status == 0
    assert [one["name"] for one in listed.json["workflows"]] == [
        "create_m365_user", "create_user_sync", "weekly_license_audit"]
    assert "create_user_sync" in (await shell("workflows", "list", **nowhere)).out
    shown = (await shell("workflows", "show", "create_user_sync", "--json", **nowhere)).json
    assert [one["name"] for one in shown["parameters"]] == ["email", "name", "department", "license_sku"]
    assert "get_departments" in (await shell("workflows", "show", "create_user_sync", **nowhere)).out
    schema = (await shell("workflows", "show", "create_user_sync", "--schema", **nowhere)).json
    assert schema["required"] == ["email", "name"]
    missing = await shell("workflows", "show", "create_user_sink", **nowhere)
    assert missing.status == 1
    assert "Did you mean 'create_user_sync'" in missing.err


async def test_a_broken_workspace_is_listed_with_its_faults(shell: Shell, tmp_path: Path) -> None:
    """What cannot be loaded is named with file and line, and the exit status is 1."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "bad.py").write_text("from bifrost import workflow\n\ndef (\n")
    listed = await shell("workflows", "list", BIFROST_WORKSPACE=str(tmp_path))
    assert listed.status == 1
    assert "workflows/bad.py:3: SyntaxError" in listed.err
    assert "No workflows." in listed.out
    missing = await shell("workflows", "list", BIFROST_WORKSPACE=str(tmp_path / "nowhere"))
    assert missing.status == 1
    assert "There is no workspace at" in missing.err


async def test_secrets_go_in_and_are_never_shown(shell: Shell, vault_server: VaultServer) -> None:
    """A value is read from standard input; names are listed, values never; an empty one and unknown places are refused."""
    secret = "canary-value-of-the-command-line"
    outputs = [await shell("secrets", "set", "api_key", "--org", "globex", stdin=f"{secret}\n"),
               await shell("secrets", "set", "shared_key", "--org", "GLOBAL", stdin=secret),
               await shell("secrets", "list", "--org", "globex"), await shell("secrets", "list", "--org", "globex", "--json")]
    assert [one.status for one in outputs] == [0] * 4
    assert "api_key" in outputs[2].out
    assert "api_key" in outputs[3].json
    outputs += [await shell("secrets", "delete", "api_key", "--org", "globex"),
                await shell("secrets", "delete", "shared_key", "--org", "GLOBAL")]
    assert "api_key" not in (await shell("secrets", "list", "--org", "globex", "--json")).json
    for arguments, said in ((("set", "k", "--org", "globex"), "The value is empty"),
                            (("set", "k", "--org", "globx"), "Organization 'globx' not found. Did you mean 'globex'"),
                            (("set", "../k", "--org", "globex"), "Invalid secret name")):
        refused = await shell("secrets", *arguments)
        assert refused.status == 1
        assert said in refused.err
    assert secret not in "".join(one.out + one.err for one in outputs)


async def test_organizations_are_listed_shown_and_checked(shell: Shell, tmp_path: Path) -> None:
    """Organizations come from BIFROST_ORGANIZATIONS; a mistake is named with file and line."""
    assert [one["id"] for one in (await shell("orgs", "list", "--json")).json] == ["acme", "globex"]
    assert "Acme" in (await shell("orgs", "list")).out
    assert (await shell("orgs", "show", "acme", "--json")).json["config"]["admin_email"] == "it@acme.example"
    assert "secret_ref" in (await shell("orgs", "show", "acme")).out
    assert (await shell("orgs", "check", "--json")).json == {"organizations": 2, "active": 2}
    assert "no mistakes" in (await shell("orgs", "check")).out
    (tmp_path / "bad.yaml").write_text("organizations:\n  - id: acme\n    nam: Acme\n")
    bad = await shell("orgs", "check", BIFROST_ORGANIZATIONS=str(tmp_path / "bad.yaml"))
    assert bad.status == 1
    assert "bad.yaml:3" in bad.err


async def test_a_worker_waits_for_temporal_and_ends_when_told(shell: Shell) -> None:
    """Without Temporal a worker says so and tries again; SIGTERM ends it with status 0, SIGINT too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process = await shell.start("worker", TEMPORAL_ADDRESS="127.0.0.1:1")
        assert process.stderr is not None
        while "waiting for Temporal" not in (line := (await asyncio.wait_for(process.stderr.readline(), 30)).decode()):
            assert line, "the worker ended"
        process.send_signal(number)
        await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0


async def test_a_worker_follows_edits(shell: Shell, tmp_path: Path) -> None:
    """With --reload a new workflow can be run without a restart, and a broken edit changes nothing else."""
    root = tmp_path / "workspace" / "workflows"
    root.mkdir(parents=True)
    one = "from bifrost import workflow\n\n@workflow(name='{0}', requires_org=False)\nasync def {0}(context):\n    return '{0}'\n"
    (root / "one.py").write_text(one.format("one"))
    environment = {"BIFROST_WORKSPACE": str(tmp_path / "workspace"), "BIFROST_TASK_QUEUE": "reloading"}
    process = await shell.start("worker", "--reload", **environment)
    assert process.stderr is not None

    async def line_with(text: str) -> dict[str, Any]:
        assert process.stderr is not None
        while text not in (line := (await asyncio.wait_for(process.stderr.readline(), 30)).decode()):
            assert line, "the worker ended"
        found: dict[str, Any] = json.loads(line)
        return found

    assert (await line_with("worker ready"))["workflows"] == ["one"]
    (root / "two.py").write_text(one.format("two"))
    assert (await line_with("workspace reloaded"))["workflows"] == ["one", "two"]
    assert (await shell("run", "two", "--json", **environment)).json["result"] == "two"
    (root / "two.py").write_text("def (")
    assert (await line_with("cannot be loaded"))["file"] == "workflows/two.py"
    assert (await shell("run", "one", "--json", **environment)).json["result"] == "one"
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


PAY = """
from bifrost import workflow

@workflow(name="pay", requires_org=False, requires_approval=True)
async def pay(context):
    context.log("info", "paying")
    await context.wait_for_event("receipt")
    context.log("info", "paid", {"amount": 5})
    return "paid"
"""


async def test_an_execution_is_approved_and_followed(shell: Shell, tmp_path: Path) -> None:
    """`approve` lets it go on, refuses whoever waits for nothing; `logs --follow` prints lines as they come, until the end."""
    (tmp_path / "workspace" / "workflows").mkdir(parents=True)
    (tmp_path / "workspace" / "workflows" / "pay.py").write_text(PAY)
    environment = {"BIFROST_WORKSPACE": str(tmp_path / "workspace"), "BIFROST_TASK_QUEUE": "paying"}
    worker = await shell.start("worker", **environment)
    execution_id = (await shell("run", "pay", "--no-wait", "--json", **environment)).json["execution_id"]

    async def asked() -> bool:
        return bool((await shell("executions", "show", execution_id, "--json")).json["checkpoints"])

    await until(asked)
    followed = await shell.start("executions", "logs", execution_id, "--follow", "--json")
    approved = await shell("executions", "approve", execution_id, "--by", "bo@acme.example", "--note", "fine")
    assert (approved.status, approved.out) == (0, f"{execution_id} approved\n")
    again = await shell("executions", "approve", execution_id, "--by", "bo@acme.example")
    assert (again.status, "waits for no approval" in again.err) == (1, True)
    assert followed.stdout is not None
    assert json.loads(await asyncio.wait_for(followed.stdout.readline(), 30))["message"] == "paying"
    assert (await shell("executions", "signal", execution_id, "receipt")).status == 0
    rest, _ = await asyncio.wait_for(followed.communicate(), 30)
    assert [(line["message"], line["data"]) for line in map(json.loads, rest.decode().splitlines())] == [("paid", {"amount": 5})]
    assert followed.returncode == 0
    assert (await shell("executions", "approve", "nobody", "--by", "bo")).status == 1
    worker.send_signal(signal.SIGTERM)
    await asyncio.wait_for(worker.communicate(), 30)


async def test_a_wrong_setting_is_named(shell: Shell) -> None:
    """A variable that cannot be so is an error with its name; without Temporal, commands say how to get one."""
    wrong = await shell("workflows", "list", BIFROST_LOG_LEVEL="loud")
    assert wrong.status == 1
    assert "BIFROST_LOG_LEVEL is 'loud'" in wrong.err
    alone = await shell("executions", "list", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert alone.status == 1
    assert "`bifrost dev`" in alone.err


async def test_help_and_unknown_commands(shell: Shell) -> None:
    """`--help` names every command with a sentence; an unknown command is a wrong call."""
    from bifrost.cli import COMMANDS
    helped = await shell("--help")
    assert helped.status == 0
    assert all(name in helped.out for name in COMMANDS)
    slots = asyncio.Semaphore(3)

    async def help_of(name: str) -> int:
        async with slots:
            return (await shell(name, "--help")).status

    assert set(await asyncio.gather(*map(help_of, COMMANDS))) == {0}
    unknown = await shell("excutions")
    assert unknown.status == 2
    assert "No such command" in unknown.err
    assert (await shell("--version")).out.startswith("bifrost ")


async def test_the_exit_status_is_the_works_own_many_times_over(shell: Shell) -> None:
    """A command that used a client ends with its own status every time: the SDK's crash at exit never shows."""
    for _ in range(3):
        ended = await asyncio.gather(*(shell("executions", "list", "--limit", "1", "--json") for _ in range(3)))
        assert [one.status for one in ended] == [0] * 3
