"""Restate: a server of its own, which calls the worker over HTTP/2 and is itself called over its HTTP ingress."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Driver, UnavailableError
from benchmarks.contenders.installing import node_modules_with, python_with
from benchmarks.contenders.serving import answers, driver, serving, worker
from bifrost.dev.ports import LOOPBACK, free_port

PACKAGES = {"restate-sdk": "1.3.0", "hypercorn": "0.18.0", "httpx[http2]": "0.28.1"}
SERVER = {"@restatedev/restate-server": "1.7.12"}


@dataclass(frozen=True)
class Restate:
    """Restate with its server's default settings, on Hypercorn as its documentation serves it.

    https://docs.restate.dev/references/server-config, https://docs.restate.dev/develop/python/serving
    """

    name: str = "restate"

    @property
    def versions(self) -> Mapping[str, str]:
        return {"restate-sdk": PACKAGES["restate-sdk"], "restate-server": SERVER["@restatedev/restate-server"]}

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[Driver]:
        """See `Contender`."""
        python, program = await python_with("restate", PACKAGES), await _server()
        ingress, admin, fabric, port = (free_port() for _ in range(4))
        environment = {"RESTATE_BASE_DIR": str(folder / "restate"), "RESTATE_NODE_NAME": "benchmark", "RESTATE_LOG_FILTER": "warn",
                       "RESTATE_LISTEN_MODE": "tcp", "RESTATE_BIND_IP": LOOPBACK, "RESTATE_BIND_PORT": str(fabric),
                       "RESTATE_INGRESS__BIND_PORT": str(ingress), "RESTATE_ADMIN__BIND_PORT": str(admin)}
        deployment = {"uri": f"http://{LOOPBACK}:{port}"}
        async with (worker(python, "restate_worker.py", folder, str(port)),
                    serving("restate", [str(program), "--no-logo"], folder,
                            answers("POST", f"http://{LOOPBACK}:{admin}/deployments", deployment), environment),
                    driver(python, "restate_driver.py", folder, f"http://{LOOPBACK}:{ingress}") as answering):
            yield answering


async def _server() -> Path:
    """The program itself, past the package's wrapper, which would be a process more."""
    modules = await node_modules_with("restate-server", SERVER)
    if not (found := next(modules.glob("@restatedev/restate-server-*/bin/restate-server"), None)):
        raise UnavailableError("Restate's npm package has no server for this system and processor")
    return found


CONTENDERS: tuple[Contender, ...] = (Restate(),)
