"""Record the histories beside this file anew: `PYTHONHASHSEED=0 python -m tests.replay.record FOLDER`.

Histories of an earlier version are never recorded again: they show that executions begun with it go on. A new version adds a
folder of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
from pathlib import Path

from temporalio.client import WorkflowFailureError

from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.temporal import client as executions
from bifrost.temporal import replay
from bifrost.temporal.history import read_execution
from bifrost.temporal.worker import serving
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import FolderRevisions
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WORKSPACE = Path(__file__).parent / "workspace"
STORIES = {"calls": {}, "chance": {}, "waits": {}, "parent": {}, "fails": {"item": "hat"}, "late": {}, "cancelled": {}, "open": {}}


async def record(folder: Path) -> None:
    """Run each story and keep its history."""
    with tempfile.TemporaryDirectory() as scratch:
        server = await TemporalServer(Path(scratch), db_path=Path(scratch) / "temporal.db", port=free_port()).start()
        try:
            client = await executions.connect(server.address)
            workspace = Workspace(WORKSPACE, FolderRevisions(folder / "revisions"))
            async with serving(client, workspace, MemoryOrganizations([Organization("acme", "Acme")], {"greeting": "hi"}),
                               MemorySecrets({"acme": {"tool_key": "k"}}), task_queue="record"):
                for name, params in STORIES.items():
                    handle = await executions.start(client, name, task_queue="record", org_id="acme", params=params, execution_id=name)

                    async def under_way(execution_id: str = name) -> bool:
                        return bool((await read_execution(client, execution_id)).checkpoints)

                    if name in ("waits", "cancelled", "open"):
                        await until(under_way)
                    if name == "waits":
                        await handle.signal("approved", {"by": "ada"})
                    if name == "cancelled":
                        await handle.cancel()
                    if name != "open":
                        with contextlib.suppress(WorkflowFailureError):
                            await handle.result()
                    _without_this_machine(replay.save(await handle.fetch_history(), folder))
        finally:
            await server.stop()


def _without_this_machine(file: Path) -> None:
    """Take this machine's paths and name out of a history: they stand in tracebacks and workers' identities."""
    text = file.read_text()
    for mine, neutral in ((ROOT, "/bifrost"), (sys.prefix, "/python"), (sys.base_prefix, "/python"), (socket.gethostname(), "host")):
        text = text.replace(str(mine), neutral)
    file.write_text(text)


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1])))
