"""A workspace that tests import from, as the plugin serves one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bifrost.workspace import finder

TOOL = """
from bifrost import BaseIntegration, register_integration

class Tool(BaseIntegration):
    integration_name = "tool"
    timeout_seconds = 7

    def __init__(self, context):
        raise RuntimeError("a fake is not the real one")

    async def authenticate(self): ...
    async def make(self, what, *, size=1): ...
    def unmake(self, what, /): ...
    @staticmethod
    def kinds(first="a", *others): ...
"""
FLOWS = """
from dataclasses import dataclass
from datetime import date, timedelta

from bifrost import ValidationError, activity, workflow

@dataclass
class Report:
    on: date
    key: str

@activity
async def report(context, on: date, key: str) -> Report:
    return Report(on + timedelta(days=1), f"{key}/{await context.get_secret('key')}")

@activity
def double(number: int) -> int:
    return number * 2

async def twice(context, item):
    context.save_checkpoint("twice", {"item": item})
    if item == 3:
        raise ValidationError("not this one")
    return await double(item)

@workflow(name="build")
async def build(context, what: str = "a", fail: bool = False):
    tool = context.get_integration("tool")
    made = await tool.make(what, size=2)
    context.save_checkpoint("made", {"id": made.id, "api_key": "hidden"})
    context.on_failure(tool.unmake, made.id)
    context.on_failure(context.log, "INFO", "first")
    if fail:
        raise ValidationError("no more")
    return {"made": made}

@workflow(name="secretive")
async def secretive(context):
    secret = await context.get_secret("key")
    made = await context.get_integration("tool").make([secret])
    found = await report(context, date(2026, 1, 31), key=secret)
    return {"shown": str(secret), "made": made, "on": found.on.isoformat(), "key": found.key, "extra": context.get_variable("extra")}

@workflow(name="parent", requires_org=False)
async def parent(context):
    child = await context.execute_workflow("build", {"what": "b", "unknown": 1})
    mapped = await context.map(twice, [1, 2, 3])
    named = await context.map("build", [{"what": "c"}])
    return {"child": child.made.id, "mapped": mapped, "named": named.succeeded, "unknown": context.get_variable("unknown")}

@workflow(name="endless")
async def endless(context):
    return object()
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A workspace with an integration, its workflows and one file that is broken, served to imports."""
    files = {"integrations/tool.py": TOOL, "workflows/flows.py": FLOWS, "workflows/broken.py": "@workflow(name='broken')\ndef (\n"}
    for path, text in files.items():
        (tmp_path / "workspace" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "workspace" / path).write_text(text)
    finder.install(tmp_path / "workspace")
    yield tmp_path / "workspace"
    finder.uninstall()


@pytest.fixture
def flow(served: Path) -> Callable[[str], Any]:
    """A name out of the workspace's workflows."""
    return lambda name: getattr(importlib.import_module("workspace.workflows.flows"), name)
