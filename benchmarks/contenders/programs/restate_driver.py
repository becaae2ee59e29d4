"""The client of Restate's HTTP ingress: `restate_driver.py URL`.

It sends an invocation and attaches to it, two requests, as whoever needs an execution's id does. https://docs.restate.dev/services/invocation/http
"""

import asyncio
import sys

import httpx

from benchmarks.contenders.driver import Result, drive


async def main(url: str) -> None:
    """Drive, over one HTTP/2 connection: HTTP/1.1 would take one for each result that is awaited."""
    async with httpx.AsyncClient(base_url=url, http1=False, http2=True, timeout=None, trust_env=False) as http:

        async def start(calls: int, shape: str) -> Result:
            sent = (await http.post(f"/steps/{shape}/send", json=calls)).raise_for_status()
            invocation = sent.json()["invocationId"]

            async def result() -> int:
                return int((await http.get(f"/restate/invocation/{invocation}/attach")).raise_for_status().json())

            return result

        await drive(start)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
