"""A workspace of one workflow, as a benchmark writes it."""

from __future__ import annotations

from pathlib import Path

from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import FolderRevisions


def workspace(folder: Path, name: str, source: str) -> Workspace:
    """The workspace in `folder`, with this source in `workflows/<name>.py`; its revisions are kept beside it."""
    file = folder / "workspace" / "workflows" / f"{name}.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    return Workspace(folder / "workspace", FolderRevisions(folder / "revisions"))
