"""One Temporal server for the tests of a process, which can make time pass at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Self

from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer, find_temporal
from bifrost.errors import ConfigurationError

_TRIES: Final = 3
_SKIPPING: Final = {"frontend.WorkflowTimeSkippingEnabled": True}


class SharedServer:
    """A Temporal server in memory, in a thread of its own: it outlives the event loops of the tests that share it.

    Args:
        directory: Where its log goes, and large payloads.
    """

    def __init__(self, directory: Path) -> None:
        self.payloads = directory / "payloads"
        self._directory = directory
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._server: TemporalServer | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        assert self._server is not None, "asked for while it runs"
        return self._server.address

    def start(self) -> Self:
        """Start it and wait until it can run workflows.

        Raises:
            ConfigurationError: Temporal's program is not installed; or it ended, with the end of its log.
            TimeoutError: it did not answer in time.
        """
        find_temporal()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bifrost-test-server", daemon=True)
        self._thread.start()
        try:
            self._server = self._await(self._started(_TRIES))
        except BaseException:
            self.stop()
            raise
        return self

    async def _started(self, tries: int) -> TemporalServer:
        """A server that came up: between its choosing free ports and taking them another program may have taken one."""
        try:
            return await TemporalServer(self._directory, port=free_port(), extra_dynamic_config=_SKIPPING).start()
        except ConfigurationError:
            if tries == 1:
                raise
        return await self._started(tries - 1)

    def stop(self) -> None:
        """End it. There is nothing that it would have to write down."""
        if self._server is not None:
            self._await(self._server.kill())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
