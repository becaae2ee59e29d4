"""`bifrost secrets`, on a real Vault."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bifrost.cli import cli
from bifrost.cli.secrets import LENGTH
from bifrost.errors import NotFoundError, ValidationError
from bifrost.settings import Settings
from tests.vault_api import Api

VALUE = "canary-of-the-command-line"
Secrets = Callable[..., Result]


@pytest.fixture
def environment(vault_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The variables of an empty part of the tests' Vault, set in this process, too."""
    monkeypatch.setattr("bifrost.cli.parts.logging.configure", lambda read: None)  # it would be this process's
    variables = {"VAULT_ADDR": vault_settings.vault_addr, "VAULT_TOKEN": vault_settings.vault_token, "BIFROST_LOG_FORMAT": "json",
                 "BIFROST_ORGANIZATIONS": str(vault_settings.organizations), "BIFROST_VAULT_PREFIX": uuid.uuid4().hex}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def secrets(environment: dict[str, str]) -> Secrets:
    """Runs a command in this process."""
    def run(*arguments: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(cli, ["secrets", *arguments], input=stdin)

    return run


async def _held(api: Api, environment: dict[str, str], name: str, org_id: str = "globex") -> str:
    answer = await api.ask("GET", f"secret/data/{environment['BIFROST_VAULT_PREFIX']}/{org_id}/{name}")
    return str(answer.json()["data"]["data"]["value"])


def test_secrets_are_set_listed_rotated_and_deleted(secrets: Secrets) -> None:
    """Each command answers for people, and as JSON; versions count; a value is printed by none of them."""
    said = [secrets("set", "api_key", "--org", "globex", stdin=f"{VALUE}\n"), secrets("set", "b", "--org", "GLOBAL", "--json", stdin=VALUE),
            secrets("rotate", "api_key", "--org", "globex", stdin=f"{VALUE}2\n"), secrets("list", "--org", "globex"),
            secrets("list", "--org", "globex", "--json"), secrets("rotate", "api_key", "--org", "globex", "--json", stdin=f"{VALUE}3"),
            secrets("delete", "api_key", "--org", "globex", "--yes", "--json"), secrets("delete", "b", "--org", "GLOBAL"),
            secrets("list", "--org", "globex")]
    assert [one.exit_code for one in said] == [0] * len(said), [one.output for one in said]
    assert [said[number].stdout for number in (0, 2, 7, 8)] == [
        "api_key of globex set, version 1\n", "api_key of globex rotated, version 2\n", "b of GLOBAL deleted\n", "No secrets.\n"]
    assert said[3].stdout.splitlines()[0].split() == ["NAME", "VERSION", "SET", "(UTC)"]
    assert said[3].stdout.splitlines()[1].split()[:2] == ["api_key", "2"]
    listed = json.loads(said[4].stdout)
    assert listed == {"api_key": {"version": 2, "set_at": listed["api_key"]["set_at"]}}
    assert datetime.fromisoformat(listed["api_key"]["set_at"]).tzinfo
    assert [json.loads(said[number].stdout) for number in (1, 5, 6)] == [
        {"name": "b", "org_id": "GLOBAL", "version": 1}, {"name": "api_key", "org_id": "globex", "version": 3},
        {"name": "api_key", "org_id": "globex"}]
    assert VALUE not in "".join(one.output for one in said)


async def test_a_value_is_made_up(secrets: Secrets, environment: dict[str, str], vault_server) -> None:
    """`--generate` makes up letters and digits, as many as are asked for, and prints them only with `--show`."""
    api, values = Api(vault_server), []
    _in_a_thread = asyncio.to_thread
    await _in_a_thread(secrets, "set", "api_key", "--org", "globex", stdin=VALUE)
    for arguments, length in (((), LENGTH), (("40",), 40), (("16", "--show"), 16), (("--show", "--json"), LENGTH)):
        ran = await _in_a_thread(secrets, "rotate", "api_key", "--org", "globex", "--generate", *arguments)
        assert ran.exit_code == 0, ran.output
        values.append(value := await _held(api, environment, "api_key"))
        assert value.isascii()
        assert value.isalnum()
        assert len(value) == length
        assert (value in ran.output) == ("--show" in arguments)
        assert "--json" not in arguments or json.loads(ran.stdout)["value"] == value
    assert len(set(values)) == 4


def test_what_cannot_be_set_is_refused(secrets: Secrets) -> None:
    """Nothing is written: an empty value, bytes that are no text, a bad name, an organization or a secret that is not there."""
    assert secrets("set", "api_key", "--org", "globex", stdin=VALUE).exit_code == 0
    for arguments, stdin, kind, message in (
            (("set", "a", "--org", "globex"), "\n", ValidationError, "The value is empty: nothing was set"),
            (("set", "a", "--org", "globex"), b"\xff\xfe", ValidationError, "not UTF-8 text: nothing was set"),
            (("set", "../a", "--org", "globex"), VALUE, ValidationError, "Invalid secret name"),
            (("set", "a", "--org", "globx"), VALUE, NotFoundError, "Organization 'globx' not found. Did you mean 'globex'?"),
            (("list", "--org", "globx"), "", NotFoundError, "Did you mean 'globex'?"),
            (("rotate", "api_kye", "--org", "globex"), VALUE, NotFoundError, "'api_kye' not found. Did you mean 'api_key'? `bifrost secrets set")):
        ran = secrets(*arguments, stdin=stdin)
        assert isinstance(ran.exception, kind)
        assert message in str(ran.exception)
    for arguments, message in ((("--show",), "--show goes with --generate"), (("--generate", "8"), "16<=x<=4096")):
        ran = secrets("rotate", "api_key", "--org", "globex", *arguments)
        assert ran.exit_code == 2
        assert message in ran.output
    assert secrets("set", "a", VALUE, "--org", "globex").exit_code == 2  # a value is no argument
    assert list(json.loads(secrets("list", "--org", "globex", "--json").stdout)) == ["api_key"]


async def test_on_a_terminal_values_are_typed_twice_and_deletion_is_confirmed(environment: dict[str, str], vault_server) -> None:
    """What is typed is not shown; two different values are asked for again; whoever does not confirm deletes nothing."""
    said = await _type(environment, ["set", "typed", "--org", "globex"], [f"{VALUE}\n", "other\n", f"{VALUE}\n", f"{VALUE}\n"])
    assert said[1] == 0
    assert VALUE not in said[0]
    assert "do not match" in said[0]
    assert await _held(Api(vault_server), environment, "typed") == VALUE
    said = await _type(environment, ["delete", "typed", "--org", "globex"], ["n\n"])
    assert said[1] == 1
    assert "globex/typed with all its versions? [y/N]" in said[0]
    assert await _held(Api(vault_server), environment, "typed") == VALUE


async def _type(environment: dict[str, str], arguments: list[str], lines: list[str]) -> tuple[str, int]:
    """What a command prints, and its exit status, on a terminal where each of the lines is typed when it is asked for."""
    def run() -> tuple[str, int]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen([sys.executable, "-m", "bifrost", "secrets", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
                                   env={**os.environ, **environment}, start_new_session=True)
        os.close(theirs)
        said, waiting, deadline = "", list(lines), time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                some = os.read(ours, 1000).decode()
            except OSError:  # the other side has ended
                break
            said += some
            if waiting and some.rstrip(" ").endswith(":"):
                os.write(ours, waiting.pop(0).encode())
        os.close(ours)
        return said, process.wait(10)

    return await asyncio.to_thread(run)
