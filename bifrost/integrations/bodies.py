"""Files as bodies of requests and answers, in constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import IO

_PIECE = 262_144  # bytes


class FileBody:
    """A file as it is now, read in pieces as it is sent, and again where a redirect asks for it again.

    Attributes:
        size: Its length in bytes, which is what is sent even if the file grows meanwhile.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: while it is read: it has become shorter.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.size
        with await asyncio.to_thread(self._path.open, "rb") as file:
            while left > 0:
                piece = await asyncio.to_thread(file.read, min(_PIECE, left))
                if not piece:
                    raise OSError(f"{self._path} became shorter while it was sent: it had {self.size} bytes, and {left} are gone")
                left -= len(piece)
                yield piece


async def save(pieces: AsyncIterable[bytes], path: Path) -> int:
    """Write to `path` when all is there, in place of what was there; answers the length in bytes."""
    size = 0
    with _in_place_of(path) as file:
        async for piece in pieces:
            size += await asyncio.to_thread(file.write, piece)
    return size


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place in the end, or goes without a trace where there was an error."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
