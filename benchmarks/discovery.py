"""What it costs to discover a large workspace, and to notice that nothing changed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from bifrost.authoring.check import check
from bifrost.workspace import finder
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import FolderRevisions

WORKFLOW = """
from bifrost import OrganizationContext, param, workflow
from .lib.words import word

@workflow(name="w{n}", description="The workflow {n}", category="many", tags=["a"])
@param("email", "email", required=True)
@param("count", "int", validation={{"min": 1, "max": 9}}, default_value=3)
async def w{n}(context: OrganizationContext, email: str, count: int):
    context.log("info", word(email))
    graph = context.get_integration("msgraph")
    user = await graph.get_user(email)
    context.save_checkpoint("found", {{"id": user["id"]}})
    return {{"success": True, "count": count}}
"""


def write(root: Path, count: int) -> None:
    """A workspace of so many workflows, each in the prescribed folder with a `lib`."""
    for n in range(count):
        folder = root / "workflows" / f"c{n % 10}" / f"w{n}"
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "words.py").write_text("def word(text):\n    return text.upper()\n")
        (folder / "workflow.py").write_text(WORKFLOW.format(n=n))


async def measure() -> list[Figure]:
    """Seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "workspace"
        write(root, 500)
        discovered, unchanged, checked = [], [], []
        for number in range(5):
            began = time.perf_counter()
            workspace = Workspace(root, FolderRevisions(Path(scratch) / f"revisions-{number}"))
            discovered.append(time.perf_counter() - began)
            assert len(workspace.catalog.workflows) == 500
            began = time.perf_counter()
            workspace.refresh()
            unchanged.append(time.perf_counter() - began)
        for _ in range(3):
            began = time.perf_counter()
            check(root)
            checked.append(time.perf_counter() - began)
        finder.uninstall()
    return [Figure("discovery of 500 workflow files, each with a lib, and keeping the revision", "s", discovered, 2),
            Figure("a look at 500 workflow files that did not change", "s", unchanged),
            Figure("`bifrost check` of 500 workflow files", "s", checked)]
