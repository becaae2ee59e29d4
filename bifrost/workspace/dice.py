"""The dice as a run sees them: `random`, `secrets`, `uuid` and `os.urandom`, drawn from the run's own stream."""

from __future__ import annotations

import base64
import os as real_os
import random as real_random
import secrets as real_secrets
import uuid as real_uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bifrost.workspace import clock, determinism
from bifrost.workspace.determinism import copy_of, either


def _getrandbits(count: int) -> int:
    return determinism.required().random.getrandbits(count)


def _uuid4() -> real_uuid.UUID:
    return real_uuid.UUID(int=_getrandbits(128), version=4)


def _uuid1(node: int | None = None, clock_seq: int | None = None) -> real_uuid.UUID:
    """RFC 9562 version 1: 100 ns since 1582-10-15, a random clock sequence and, like a privacy-minded host, a random node."""
    ticks = clock.timestamp_ns() // 100 + 0x01B21DD213814000
    sequence = _getrandbits(14) if clock_seq is None else clock_seq
    return real_uuid.UUID(version=1, fields=(
        ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF, sequence >> 8 & 0x3F, sequence & 0xFF,
        _getrandbits(48) | 1 << 40 if node is None else node))


def _seed_of_run(seed: Any) -> Any:
    return _getrandbits(256) if seed is None and determinism.current() else seed


class _Random(real_random.Random):
    """`random.Random`, seeded from the run where no seed is given."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        super().seed(_seed_of_run(a), version)


class _SystemRandom(_Random):
    """`random.SystemRandom`, which has no seed to set."""

    _seeded = False

    def __init__(self, x: Any = None) -> None:
        del x
        super().__init__()

    def seed(self, *_args: Any, **_kwargs: Any) -> None:
        if not self._seeded:
            self._seeded = True
            super().seed()


def _dice(real: Any, name: str) -> Callable[..., Any]:
    """The method of the run's random numbers that stands for `real`."""
    def draw(*args: Any, **kwargs: Any) -> Any:
        return getattr(determinism.required().random, name)(*args, **kwargs)
    return either(real, draw)


def _seed(a: Any = None, version: int = 2) -> None:
    determinism.required().random.seed(_seed_of_run(a), version)


def _random_bytes(nbytes: int | None = None) -> bytes:
    return determinism.required().random.randbytes(32 if nbytes is None else nbytes)


def _token_urlsafe(nbytes: int | None = None) -> str:
    return base64.urlsafe_b64encode(_random_bytes(nbytes)).decode().rstrip("=")


def make_random() -> ModuleType:
    """The `random` module."""
    drawn = [name for name in real_random.__all__ if name not in ("Random", "SystemRandom", "seed")]
    return copy_of(real_random, Random=_Random, SystemRandom=_SystemRandom, seed=either(real_random.seed, _seed),
                    **{name: _dice(getattr(real_random, name), name) for name in drawn})


def make_secrets() -> ModuleType:
    """The `secrets` module."""
    drawn = {"choice": "choice", "randbelow": "randrange", "randbits": "getrandbits"}
    return copy_of(
        real_secrets, SystemRandom=_SystemRandom, token_bytes=either(real_secrets.token_bytes, _random_bytes),
        token_hex=either(real_secrets.token_hex, lambda nbytes=None: _random_bytes(nbytes).hex()),
        token_urlsafe=either(real_secrets.token_urlsafe, _token_urlsafe),
        **{name: _dice(getattr(real_secrets, name), method) for name, method in drawn.items()})


def make_uuid() -> ModuleType:
    """The `uuid` module."""
    return copy_of(real_uuid, uuid4=either(real_uuid.uuid4, _uuid4), uuid1=either(real_uuid.uuid1, _uuid1),
                   **determinism.stand_ins("uuid", ("getnode", "uuid6", "uuid7", "uuid8")))  # Python 3.14 has the last three


urandom = either(real_os.urandom, _random_bytes)
"""`os.urandom`."""
