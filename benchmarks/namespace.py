"""What it costs to load a workflow's modules afresh for each run."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.figures import Figure
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision, snapshot

SAMPLE = Path(__file__).parents[1] / "workspace"
TYPICAL = "workflows/user_management/create_m365_user/workflow.py"
EMPTY = Revision({"workflows/a.py": "from bifrost import workflow\n@workflow(name='a')\nasync def a(context): ...\n"})
MODELS = Revision({"workflows/a.py": "\n".join([
    "from datetime import datetime", "from pydantic import BaseModel", "from bifrost import workflow",
    *(f"class M{n}(BaseModel):\n    name: str\n    at: datetime\n    tags: list[str] = []" for n in range(5)),
    "@workflow(name='a')", "async def a(context): ..."])})


def _each(revision: Revision, path: str, name: str, rounds: int = 7, runs: int = 200) -> list[float]:
    """Milliseconds of one load, in several rounds."""
    Namespace(revision).workflow(path, name)
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(runs):
            Namespace(revision).workflow(path, name)
        found.append((time.perf_counter() - began) * 1000 / runs)
    return found


async def measure() -> list[Figure]:
    """Milliseconds of one load."""
    return [Figure("per run: the smallest workflow", "ms", _each(EMPTY, "workflows/a.py", "a")),
            Figure("per run: the sample's create_m365_user and its lib", "ms", _each(snapshot(SAMPLE), TYPICAL, "create_m365_user"), 1),
            Figure("per run: a module with five pydantic models", "ms", _each(MODELS, "workflows/a.py", "a", runs=50))]
