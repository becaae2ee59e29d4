"""What a run writes down of its way: checkpoints and log lines, in the history itself.

Each checkpoint is an activity that does nothing: that it was scheduled, with the checkpoint as its input, is the record. The
log lines since the one before travel with it. It is scheduled in the same workflow task as the call that follows, and before
it; so whenever that call runs the checkpoint is in history, and it costs no round trip of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from pydantic_core import to_json
from temporalio import workflow
from temporalio.common import RetryPolicy

from bifrost import messages, redaction
from bifrost.context import sanitize
from bifrost.messages import CheckpointMessage, LogLine
from bifrost.temporal import attributes

MAX_PENDING = 200
"""How many activities of one kind an execution has under way at once; the server refuses more than 2,000 in all."""
MAX_LOG_LINES = 200
"""How many log lines wait for a checkpoint before they are written without one."""
MAX_LOG_BYTES = 256 * 1024
"""The same, in bytes of JSON: a message of the history holds 2 MiB."""
MAX_LOG_TOTAL = 10 * 1024 * 1024
"""How much log one execution keeps, in bytes of JSON: its history holds 50 MiB. What comes after is counted."""
MAX_DATA_BYTES = 64 * 1024
"""How much data a checkpoint or a log line keeps, in bytes of JSON."""

_LINE_BYTES = 60  # what a line has besides its message and its data

_SHOWN = 50


class Progress:
    """The progress of one run."""

    def __init__(self) -> None:
        self._lines: list[LogLine] = []
        self._bytes = self._total = self._left_out = 0
        self._unwritten: list[CheckpointMessage] = []
        self._writing: set[workflow.ActivityHandle[Any]] = set()
        self._passed: list[str] = []
        self._counts: Counter[str] = Counter()
        self._written_at = -1

    @property
    def last_checkpoint(self) -> str | None:
        """The name of the last checkpoint."""
        return self._passed[-1] if self._passed else None

    def log(self, level: str, message: str, data: Any) -> LogLine:
        """Keep a line for the next checkpoint; enough of them are written without one."""
        line = LogLine(at=_now(), level=level, message=sanitize(message), data=None if data is None else _bounded(data))
        size = len(line.message) + _LINE_BYTES + (len(to_json(line.data)) if line.data else 0)
        if self._total + size > MAX_LOG_TOTAL:
            self._left_out += 1
            return line
        self._lines.append(line)
        self._bytes += size
        self._total += size
        if len(self._lines) >= MAX_LOG_LINES or self._bytes >= MAX_LOG_BYTES:
            self._add(None, None)
            self.write()
        return line

    def checkpoint(self, name: str, data: Any) -> None:
        """Keep a checkpoint for the next call, or for the moment when the code waits for anything else."""
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._yielded)
        shown = self._shown(name)
        self._add(shown, None if data is None else _bounded(data))
        self._passed.append(shown)

    def _shown(self, name: str) -> str:
        """The name, which no codec sees: it is part of an activity's id, and in Temporal's index. One with a secret in it is stars.

        What a process knows as secret is no part of a history, so that a name was masked is recorded, for replays elsewhere.
        """
        suspicious = workflow.unsafe.is_replaying() or redaction.mask(name) != name
        return redaction.MASK if suspicious and workflow.patched(f"bifrost-masked-{len(self._passed)}") else name

    def flush(self) -> None:
        """Write what there is, because the code is about to wait for something that may take long."""
        if self._lines:
            self._add(None, None)
        self.write()

    def take_log(self) -> list[LogLine]:
        """The lines since the last checkpoint."""
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines

    def last_log(self) -> list[LogLine]:
        """The lines since the last checkpoint, which the run's end carries, and how many were left out in all."""
        if not self._left_out:
            return self.take_log()
        return [*self.take_log(), LogLine(at=_now(), level="warning", message=f"{self._left_out:,} more log lines were left out")]

    def write(self) -> None:
        """Schedule what was not written yet, as far as there is room; what ends makes room for more."""
        room = max(MAX_PENDING - len(self._writing), 0)
        batch, self._unwritten = self._unwritten[:room], self._unwritten[room:]
        for checkpoint in batch:
            handle = workflow.start_activity(
                messages.CHECKPOINT, checkpoint, activity_id=self._activity_id(checkpoint.name),
                start_to_close_timeout=timedelta(seconds=30), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200)),
                summary=checkpoint.name or f"{len(checkpoint.log)} log line{'s' if len(checkpoint.log) != 1 else ''}")
            self._writing.add(handle)
            self._written_at = workflow.info().get_current_history_length()
            handle.add_done_callback(self._written)
        if batch:
            workflow.set_current_details("\n".join(f"- [x] {name}" for name in self._passed[-_SHOWN:]))

    async def written(self) -> None:
        """Return when everything is scheduled: at once, unless there is more than may be under way."""
        self.write()
        while self._unwritten:
            await workflow.wait(list(self._writing), return_when=asyncio.FIRST_COMPLETED)
            self.write()

    def committed(self) -> bool:
        """Whether everything that was scheduled is in history, and not only on its way there with the present step."""
        return workflow.info().get_current_history_length() != self._written_at

    async def finished(self) -> None:
        """Return when everything is recorded as done, so that a closed run shows none as pending."""
        await self.written()
        if self._writing:
            await workflow.wait(list(self._writing))

    def _add(self, name: str | None, data: Any) -> None:
        self._unwritten.append(CheckpointMessage(name=name, data=data, at=_now(), log=self.take_log()))

    def _written(self, handle: workflow.ActivityHandle[Any]) -> None:
        self._writing.discard(handle)

    def _yielded(self) -> None:
        """The code waits for something that is no call: now somebody may look, so say where it stands."""
        if self._unwritten:
            self.write()
            if self._passed:
                workflow.upsert_search_attributes([attributes.CHECKPOINT.value_set(self._passed[-1])])

    def _activity_id(self, name: str | None) -> str:
        """The activity's id, by which Temporal's own tools name the checkpoint; a repeated name gets a number."""
        shown = f"checkpoint:{name}" if name else "log"
        self._counts[shown] += 1
        return shown if self._counts[shown] == 1 else f"{shown}-{self._counts[shown]}"


def _bounded(data: Any) -> Any:
    kept = sanitize(data)
    size = len(to_json(kept))
    return kept if size <= MAX_DATA_BYTES else {"…": f"{size} bytes of data were left out"}


def _now() -> str:
    return workflow.now().isoformat()
